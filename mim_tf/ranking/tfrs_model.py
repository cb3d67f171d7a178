"""The ranker as a TensorFlow Recommenders model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.network import IS_SHOWN, Features
from mim_tf.ranking.ranker import Ranker

if hasattr(keras, "ops"):  # Keras 3
    raise ImportError(
        "mim_tf.ranking.tfrs_model must run with tf_keras, because TensorFlow Recommenders refuses Keras 3. "
        "Set TF_USE_LEGACY_KERAS=1 in the environment before TensorFlow is imported."
    )

import tensorflow_recommenders as tfrs


class RankingModel(tfrs.Model):
    """Trains a `Ranker` with `fit`, by the log loss.

    ```
    loss = sum over the impressions shown, on all replicas, of their log losses / N
    ```

    N is the same for every batch, so replicas need not ask each other how many impressions theirs hold, and P of them
    do what one does with all of the batch. A batch that shows none has the loss 0 and gradients of 0: Adam's moments
    decay in it, and the weights still move by what is left of them.

    Only the network belongs to the model's weights and checkpoints. The table is frozen, may be far larger, and has
    a store of its own.

    Args:
        ranker: network and table.
        batch_size: N; None takes the number of rows, over all replicas, for batches of one impression per row.
    """

    def __init__(self, ranker: Ranker, batch_size: int | None = None):
        super().__init__()
        self.network = ranker.network
        self._ranker = _Untracked(ranker)
        self._batch_size = batch_size
        # TFRS averages over the replica's batch only; under a strategy the average must be over the global batch.
        self.task = tfrs.tasks.Ranking(
            loss=keras.losses.BinaryCrossentropy(from_logits=True, reduction=keras.losses.Reduction.NONE)
        )

    def call(self, features: Features) -> tf.Tensor:
        """Click probabilities, `[batch]` or `[batch, candidates]`."""
        return self._ranker.module.probabilities(features)

    def compute_loss(self, inputs: Features, training: bool = False) -> tf.Tensor:
        """This replica's share of the loss of a batch.

        Args:
            inputs: the features and `label`, `[batch]`; or `[batch, candidates]`, and `is_shown`.
            training: whether layers learn from the batch.
        """
        labels, logits = inputs["label"], self._ranker.module.logits(inputs, training=training)
        losses = self.task(
            labels=tf.cast(labels, tf.float32)[..., tf.newaxis],
            predictions=logits[..., tf.newaxis],
            compute_metrics=False,
        )
        if IS_SHOWN in inputs:
            losses = tf.where(inputs[IS_SHOWN], losses, 0.0)
        return tf.nn.compute_average_loss(losses, global_batch_size=self._batch_size)

    @property
    def losses(self) -> list[tf.Tensor]:
        """What layers add to the loss (DIEN does), as this replica's share: TFRS adds up over replicas."""
        return [tf.nn.scale_regularization_loss(loss) for loss in super().losses]


class _Untracked:
    """Keeps a module out of a Keras model's weights."""

    def __init__(self, module: Any):
        self.module = module
