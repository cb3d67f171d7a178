"""The embeddings of the finished `represent` stage, as they are stored and as tables."""

from __future__ import annotations

import math
from pathlib import Path

import tensorflow as tf

from mim_tf.errors import DataError, StageError
from mim_tf.representation import DistributedTable, EmbeddingStore, EmbeddingTable, StoredEmbeddings
from mim_tf.settings import Settings
from mim_tf.training.represent import fingerprint_file, store_path
from mim_tf.workdir import StageFolder

_LEAST_SPARE = 1024  # rows: a small shop grows by a larger share


def read_embeddings(settings: Settings, workdir: Path, version: int | None = None) -> StoredEmbeddings:
    """All embeddings of a version of the store.

    Args:
        settings: of the run.
        workdir: its folder.
        version: of the store; None for the newest.

    Raises:
        StageError: the store was filled by another encoder than the stage's, or there is no such version.
    """
    represent = StageFolder(workdir, "represent")
    stored = EmbeddingStore(store_path(settings, workdir)).read(version)
    fingerprint = fingerprint_file(represent).read_text(encoding="utf-8").strip()
    if stored.encoder != fingerprint:
        raise StageError(
            f"{store_path(settings, workdir)} must hold embeddings of the encoder {fingerprint}. Received: of "
            f"{stored.encoder}. Delete {represent.path} and run represent again."
        )
    return stored


def table_of(stored: StoredEmbeddings, settings: Settings, *, spare: float | None = None) -> EmbeddingTable:
    """A table of stored embeddings.

    Args:
        stored: what it holds.
        settings: of the run.
        spare: rows for items to come, as a share of the rows there but at least 1,024; None for none.

    Raises:
        DataError: two string ids have the same hash.
    """
    rows = int(stored.rows.max(initial=-1)) + 1
    spare_rows = 0 if spare is None else max(_LEAST_SPARE, math.ceil(spare * rows))
    try:
        return EmbeddingTable.of(stored, spare=spare_rows, dtype=settings.represent.rows)
    except ValueError as error:
        raise DataError(_REFUSED.format(error)) from error


def load_table(
    settings: Settings,
    workdir: Path,
    strategy: tf.distribute.Strategy | None = None,
    *,
    version: int | None = None,
    spare: float | None = None,
) -> EmbeddingTable:
    """The embedding table of the finished `represent` stage.

    Parameter servers share it, and it cannot change there. Elsewhere each process holds one, outside of the strategy's
    scope: a frozen table on every replica would be the same rows again.

    Args:
        settings: of the run.
        workdir: its folder.
        strategy: that it is to be used under; None for none.
        version: of the store; None for the newest.
        spare: as in `table_of`.

    Raises:
        StageError: as `read_embeddings`.
        DataError: as `table_of`.
    """
    stored = read_embeddings(settings, workdir, version)
    if not isinstance(strategy, tf.distribute.ParameterServerStrategy):
        return table_of(stored, settings, spare=spare)
    try:
        with strategy.scope():
            return DistributedTable.of(stored, dtype=settings.represent.rows)
    except ValueError as error:
        raise DataError(_REFUSED.format(error)) from error


_REFUSED = "the items' embeddings cannot make a table: {}"
