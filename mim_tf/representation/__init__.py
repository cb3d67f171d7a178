"""The representation center: one embedding per item, stored durably and looked up inside the graph."""

from mim_tf.representation.distributed_table import DistributedTable
from mim_tf.representation.item_keys import RESERVED_IDS, item_keys
from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.stored_embeddings import Labels, StoredEmbeddings
from mim_tf.representation.table import EmbeddingTable

__all__ = [
    "RESERVED_IDS",
    "DistributedTable",
    "EmbeddingStore",
    "EmbeddingTable",
    "Labels",
    "StoredEmbeddings",
    "item_keys",
]
