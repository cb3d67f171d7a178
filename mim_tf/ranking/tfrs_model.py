"""The ranker as a TensorFlow Recommenders model."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.network import Features
from mim_tf.ranking.ranker import Ranker

if hasattr(keras, "ops"):  # Keras 3
    raise ImportError(
        "mim_tf.ranking.tfrs_model must run with tf_keras, because TensorFlow Recommenders refuses Keras 3. "
        "Set TF_USE_LEGACY_KERAS=1 in the environment before TensorFlow is imported."
    )

import tensorflow_recommenders as tfrs


class RankingModel(tfrs.Model):
    """Trains a `Ranker` with `fit`, by the log loss.

    Only the network belongs to the model's weights and checkpoints. The table is frozen, may be far larger, and has
    a store of its own.

    Args:
        ranker: network and table.
    """

    def __init__(self, ranker: Ranker):
        super().__init__()
        self.network = ranker.network
        self._ranker = _Untracked(ranker)
        # TFRS averages over the replica's batch only; under a strategy the average must be over the global batch.
        self.task = tfrs.tasks.Ranking(
            loss=keras.losses.BinaryCrossentropy(from_logits=True, reduction=keras.losses.Reduction.NONE)
        )

    def call(self, features: Features) -> tf.Tensor:
        """Click probabilities `[batch]`."""
        return self._ranker.module.probabilities(features)

    def compute_loss(self, inputs: Features, training: bool = False) -> tf.Tensor:
        """The loss of a batch with `label` among its features."""
        labels = tf.cast(inputs["label"], tf.float32)[:, tf.newaxis]
        logits = self._ranker.module.logits(inputs, training=training)[:, tf.newaxis]
        return tf.nn.compute_average_loss(self.task(labels=labels, predictions=logits, compute_metrics=False))

    @property
    def losses(self) -> list[tf.Tensor]:
        """What layers add to the loss (DIEN does), as this replica's share: TFRS adds up over replicas."""
        return [tf.nn.scale_regularization_loss(loss) for loss in super().losses]


class _Untracked:
    """Keeps a module out of a Keras model's weights."""

    def __init__(self, module: Any):
        self.module = module
