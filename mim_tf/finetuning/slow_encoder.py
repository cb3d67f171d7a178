"""The momentum encoder: an item encoder that follows the one in training slowly, so that what it embeds ages slowly."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder


class SlowEncoder(keras.layers.Layer):
    """The item encoder with the moving average of its weights, `s <- m s + (1 - m) w` after each step.

    Args:
        items: the encoder in training.
        momentum: `m`.

    Call arguments:
        images: `[batch, size, size, 3]` pixels in 0..255.
        token_ids: `[batch, length]` int32.

    Returns:
        `ItemEmbeddings`, through which no gradient flows.

    Reference: He et al., Momentum Contrast (arXiv 1911.05722), equation (2).
    """

    def __init__(self, items: ItemEncoder, momentum: float, **kwargs: Any):
        super().__init__(**kwargs)
        self._items = items
        self._momentum = momentum
        self.averages = [self._copy_of(variable) for variable in items.trainable_variables]
        self.built = True

    def _copy_of(self, variable: keras.Variable) -> keras.Variable:
        copy = self.add_weight(shape=variable.shape, dtype=variable.dtype, trainable=False, name=variable.name)
        copy.assign(variable)
        return copy

    def call(self, images: tf.Tensor, token_ids: tf.Tensor, training: bool = False) -> ItemEmbeddings:
        """Embed a batch of items."""
        frozen = [variable.value for variable in self._items.non_trainable_variables]
        averages = [variable.value for variable in self.averages]
        embeddings, _ = self._items.stateless_call(averages, frozen, images, token_ids, training=training)
        return ItemEmbeddings(*map(tf.stop_gradient, embeddings))

    def follow(self) -> None:
        """Move the averages towards the weights, on each replica alike."""
        for average, variable in zip(self.averages, self._items.trainable_variables, strict=True):
            average.assign_add((1.0 - self._momentum) * (variable - average))
