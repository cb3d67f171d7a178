"""An embedding table as a SavedModel of its own: what a parameter machine serves."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mim_tf.representation import EmbeddingTable, StoredEmbeddings
from mim_tf.representation.signatures import table_signatures


def save_table(table: EmbeddingTable, stored: StoredEmbeddings, folder: Path) -> None:
    """Write a table, with the signatures of `table_signatures`; `lookup` is the default one.

    Args:
        table: to be served.
        stored: what it was made of.
        folder: to write into.
    """
    module = tf.Module(name="table")
    module.table = table
    signatures = table_signatures(table, stored)
    signatures["serving_default"] = signatures["lookup"]
    tf.saved_model.save(module, str(folder), signatures=signatures)
