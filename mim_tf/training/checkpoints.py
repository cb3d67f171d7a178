"""Checkpoints of a training: written whole or not at all, and read back only into the model they are of."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mim_tf.errors import StageError


class Checkpoints:
    """The latest checkpoint of some variables; the one before it goes once the new one is whole.

    Args:
        checkpoint: the variables.
        folder: written to.
        read_from: where the checkpoint to continue from is.
        training: folder of all checkpoints of the training, for errors to name.
        step: number of the checkpoint.
    """

    def __init__(
        self, checkpoint: tf.train.Checkpoint, folder: Path, *, read_from: Path, training: Path, step: tf.Variable
    ):
        self._checkpoint = checkpoint
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1, step_counter=step)
        self._read_from, self._training, self._step = read_from, training, step

    @property
    def exist(self) -> bool:
        """Whether there was ever one."""
        return (self._read_from / "checkpoint").exists()

    def save(self) -> None:
        """Save the variables."""
        self._manager.save(checkpoint_number=int(self._step.numpy()))

    def restore(self) -> None:
        """Give the variables the latest checkpoint's values.

        Raises:
            StageError: it is missing, damaged, or of other variables.
        """
        # Not `latest_checkpoint`: where files are missing it says that there is none.
        state = tf.train.get_checkpoint_state(str(self._read_from))
        path = state.model_checkpoint_path if state else str(self._read_from / "checkpoint")
        try:
            self._checkpoint.restore(path).assert_consumed()
        except (AssertionError, ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise StageError(
                f"{path} is not a checkpoint of this training, or is damaged: {reason}. Delete {self._training} to "
                "begin this training again."
            ) from error
