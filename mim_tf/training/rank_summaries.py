"""What TensorBoard shows of a training of stage 3 after each epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.training.impression_summaries import write_gains, write_impressions
from mim_tf.training.sample_histories import SampleHistories
from mim_tf.training.scoring import Scored


class RankSummaries:
    """Writes a training's pictures and curves of its validation impressions, a step per epoch.

    They are a run of their own, beside Keras' `train` and `validation`: TensorBoard reads one file of a run at a time.

    Args:
        folder: of the training in TensorBoard.
        variant: `model` or `base`.
        histories: users to be drawn; None for none.
    """

    def __init__(self, folder: Path, variant: str, histories: SampleHistories | None):
        self._writer = tf.summary.create_file_writer(str(folder / "impressions"))
        self._variant, self._histories = variant, histories

    def write(self, scored: Scored, epoch: int) -> None:
        """Show what the model makes of the validation impressions after an epoch."""
        with self._writer.as_default(step=epoch):
            write_impressions(scored, self._variant)
            picture = self._histories.picture(scored.probabilities) if self._histories else None
            if picture is not None:
                tf.summary.image("histories", picture[np.newaxis])
        self._writer.flush()


def show_gains(tensorboard: Path, seed: int, model: Scored, base: Scored) -> None:
    """Show what a seed's model has over its base, as a run `gain-<seed>`."""
    writer = tf.summary.create_file_writer(str(tensorboard / f"gain-{seed}"))
    with writer.as_default(step=0):
        write_gains(model, base)
    writer.close()
