"""The TFRS model whose item encoder learns with the network."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.network import Features
from mim_tf.ranking.ranker import Ranker
from mim_tf.ranking.tfrs_model import RankingModel


class EndToEndModel(RankingModel):
    """Trains a `Ranker` together with the encoder in the place of its table, each by an optimizer of its own.

    The encoder's weights belong to the model's weights and checkpoints.

    Args:
        ranker: network and encoder.
        batch_size: as in `RankingModel`.

    Raises:
        ValueError: nothing but the network learns.

    Reference: MIM, Table 6, "end-to-end".
    """

    def __init__(self, ranker: Ranker, batch_size: int | None = None):
        super().__init__(ranker, batch_size)
        if ranker.table is None or not ranker.table.trainable_variables:
            raise ValueError(f"`ranker` must have a table that learns. Received: {ranker.table}.")
        self.encoder_weights = list(ranker.table.trainable_variables)

    def compile(self, optimizer: Any, encoder_optimizer: Any, **kwargs: Any) -> None:
        """Say how it learns.

        Args:
            optimizer: of the network.
            encoder_optimizer: of the encoder, whose weights took longer to train: one with a far smaller rate.
            **kwargs: of every Keras model.
        """
        super().compile(optimizer=optimizer, **kwargs)
        self.encoder_optimizer = keras.optimizers.get(encoder_optimizer)

    def train_step(self, inputs: Features) -> dict[str, tf.Tensor]:
        """One step of both optimizers."""
        with tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, training=True)
            regularization_loss = tf.reduce_sum([tf.reduce_sum(loss) for loss in self.losses])
            total_loss = loss + regularization_loss
        weights = (self.network.trainable_variables, self.encoder_weights)
        gradients = tape.gradient(total_loss, weights)
        for optimizer, of, to in zip((self.optimizer, self.encoder_optimizer), gradients, weights, strict=True):
            optimizer.apply_gradients(zip(of, to, strict=True))
        losses = {"loss": loss, "regularization_loss": regularization_loss, "total_loss": total_loss}
        return {metric.name: metric.result() for metric in self.metrics} | losses
