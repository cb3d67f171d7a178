"""The representation center: one embedding per item, stored durably and looked up inside the graph."""

from mim_tf.representation.distributed_table import DistributedTable
from mim_tf.representation.store import EmbeddingStore, StoredEmbeddings
from mim_tf.representation.table import RESERVED_IDS, EmbeddingTable, item_keys

__all__ = ["RESERVED_IDS", "DistributedTable", "EmbeddingStore", "EmbeddingTable", "StoredEmbeddings", "item_keys"]
