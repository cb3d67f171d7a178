"""An embedding table as a SavedModel of its own: what a parameter machine serves."""

from __future__ import annotations

import math
from pathlib import Path

import tensorflow as tf

from mim_tf.errors import DataError
from mim_tf.representation import EmbeddingTable, StoredEmbeddings
from mim_tf.representation.signatures import table_signatures
from mim_tf.settings import Settings

_LEAST_SPARE = 1024  # rows: a small shop grows by a larger share


def table_of(stored: StoredEmbeddings, settings: Settings) -> EmbeddingTable:
    """A table with rows for items to come.

    Raises:
        DataError: two string ids have the same hash.
    """
    rows = int(stored.rows.max(initial=-1)) + 1
    spare = max(_LEAST_SPARE, math.ceil(settings.export.spare * rows))
    try:
        return EmbeddingTable.of(stored, spare=spare, dtype=settings.represent.rows)
    except ValueError as error:
        raise DataError(f"the items' embeddings cannot make a table: {error}") from error


def save_table(stored: StoredEmbeddings, folder: Path, settings: Settings) -> None:
    """Write a table of some embeddings, with the signatures of `table_signatures`; `lookup` is the default one.

    Raises:
        DataError: two string ids have the same hash.
    """
    module = tf.Module(name="table")
    module.table = table_of(stored, settings)
    signatures = table_signatures(module.table, stored)
    signatures["serving_default"] = signatures["lookup"]
    tf.saved_model.save(module, str(folder), signatures=signatures)
