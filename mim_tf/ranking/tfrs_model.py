"""The ranker as a TensorFlow Recommenders model."""

from __future__ import annotations

import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.ranker import Ranker

if hasattr(keras, "ops"):  # Keras 3
    raise ImportError(
        "mim_tf.ranking.tfrs_model must run with tf_keras, because TensorFlow Recommenders refuses Keras 3. "
        "Set TF_USE_LEGACY_KERAS=1 in the environment before TensorFlow is imported."
    )

import tensorflow_recommenders as tfrs


class RankingModel(tfrs.Model):
    """Trains a `Ranker` with `fit`: log loss, and AUC and log loss as metrics.

    Only the network belongs to the model's weights and checkpoints. The table is frozen, may be far larger, and has
    a store of its own.

    Args:
        ranker: network and table.
    """

    def __init__(self, ranker: Ranker):
        super().__init__()
        self.network = ranker.network
        self._logits = ranker.logits  # a bound method, which Keras does not track: see above
        # TFRS averages over the replica's batch only; under a strategy the average must be over the global batch.
        self.task = tfrs.tasks.Ranking(
            loss=keras.losses.BinaryCrossentropy(from_logits=True, reduction=keras.losses.Reduction.NONE),
            metrics=[
                keras.metrics.AUC(from_logits=True, name="auc"),
                keras.metrics.BinaryCrossentropy(from_logits=True, name="log_loss"),
            ],
        )

    def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """Click probabilities `[batch]`."""
        return tf.sigmoid(self._logits(features))

    def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The loss of a batch with `label` among its features."""
        labels = tf.cast(inputs["label"], tf.float32)[:, tf.newaxis]
        logits = self._logits(inputs, training=training)[:, tf.newaxis]
        return tf.nn.compute_average_loss(self.task(labels=labels, predictions=logits))
