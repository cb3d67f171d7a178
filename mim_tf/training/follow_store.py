"""A training's embedding table follows the store while it trains."""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf
from tensorflow import keras
from tqdm import tqdm

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.training.strategies import wait_for_all
from mim_tf.training.table_changes import TableChanges
from mim_tf.training.table_versions import TableVersions


class FollowStore(keras.callbacks.Callback):
    """Brings the table to the store's newest version at the beginning of each epoch after the first.

    Of several workers the chief asks the store, since it may change between two answers. The others take from a file
    beside the checkpoints what it has taken. What cannot be taken is told in one line, and training goes on with the
    version that the table has.

    Args:
        table: that is trained with, the same on all workers.
        store: path or URI of its store.
        path: prefix of the training's files, where `TableVersions` has what it began with.
        strategy: that the model is trained under.
    """

    def __init__(self, table: EmbeddingTable, store: str, path: Path, strategy: tf.distribute.Strategy):
        super().__init__()
        self._table, self._store, self._strategy = table, store, strategy
        self._versions, self._changes_file = TableVersions(path), path.with_name(f"{path.name}-changes.arrow")
        self._identity = EmbeddingStore(store).identity

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Follow."""
        if epoch == 0:
            return
        if self._strategy.extended.should_checkpoint:
            self._follow()
        wait_for_all(self._strategy)
        if self._versions.last > self._version():  # on the chief it is the same
            TableChanges.load(self._changes_file).apply(self._table)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Take the file away."""
        if self._strategy.extended.should_checkpoint:
            self._changes_file.unlink(missing_ok=True)

    def _follow(self) -> None:
        """Take what is new, or say why not."""
        version = self._version()
        try:
            changes = self._changes(version)
            if changes.version == version:
                return
            changes.apply(self._table)
        except (StageError, OSError, ValueError) as error:
            tqdm.write(f"The table stays at version {version} of {self._store}: {error}", file=sys.stderr)
            return
        if isinstance(self._strategy, tf.distribute.MultiWorkerMirroredStrategy):
            changes.save(self._changes_file)
        self._versions.note(changes.version)

    def _changes(self, since: int) -> TableChanges:
        store = EmbeddingStore(self._store)
        if store.identity != self._identity:
            raise StageError("there is another store now.")
        return TableChanges.of(store.changes(since), since)

    def _version(self) -> int:
        return int(self._table.version)
