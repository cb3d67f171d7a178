"""The representation center: one embedding per item, stored durably and looked up inside the graph."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mim_tf.representation.reserved_ids import RESERVED_IDS
from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.stored_embeddings import Labels, StoredEmbeddings

if TYPE_CHECKING:
    from mim_tf.representation.distributed_table import DistributedTable
    from mim_tf.representation.table import EmbeddingTable

__all__ = ["RESERVED_IDS", "DistributedTable", "EmbeddingStore", "EmbeddingTable", "Labels", "StoredEmbeddings"]

# Imported when they are first asked for: who reads a store need not wait for TensorFlow.
_TABLES = {"DistributedTable": "distributed_table", "EmbeddingTable": "table"}


def __getattr__(name: str) -> Any:
    if name not in _TABLES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vars(import_module(f"{__name__}.{_TABLES[name]}"))[name]
