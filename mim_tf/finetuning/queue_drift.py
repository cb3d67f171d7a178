"""How far the embeddings in the queue are behind: the price of negatives from the past."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder
from mim_tf.finetuning.slow_weights import SlowWeights


class QueueDrift(keras.layers.Layer):
    """`1 - cos(queued at t - k, fresh at t)`, the mean over a few items: how far off what leaves the queue is.

    The items are the same all along and seen as they are, without augmentation and dropout, so that nothing but the
    weights makes a difference. They are embedded every k-th step; in between the last drift stands.

    Args:
        items: the encoder in training, which embeds what is fresh.
        images: `[items, size, size, 3]` uint8.
        token_ids: `[items, length]` int32.
        every: k, the batches that the queue holds.
        dim: of the embeddings.
        slow: weights by which the queue is filled, if it has its own.
    """

    def __init__(
        self,
        items: ItemEncoder,
        images: tf.Tensor,
        token_ids: tf.Tensor,
        *,
        every: int,
        dim: int,
        slow: SlowWeights | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._items, self._slow = items, slow
        self._images, self._token_ids, self._every = images, token_ids, every
        shape = (len(ItemEmbeddings._fields), len(images), dim)
        self.then = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="then")
        self.drifts = self.add_weight(shape=shape[:1], initializer="zeros", trainable=False, name="drifts")
        self.step = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="step")
        self.built = True

    def observe(self) -> dict[str, tf.Tensor]:
        """Count a step; at every k-th one, compare.

        Returns:
            A scalar for each level; 0 in the first k steps.
        """
        tf.cond(self.step.value % self._every == 0, self._compare, tf.no_op)
        self.step.assign_add(1)
        drifts = tf.unstack(tf.identity(self.drifts.value))
        return {f"queue_drift_{level}": drift for level, drift in zip(ItemEmbeddings._fields, drifts, strict=True)}

    def _compare(self) -> tf.Operation:
        fresh = self._embed()
        cosines = tf.reduce_mean(tf.reduce_sum(self.then * fresh, axis=-1), axis=-1)
        self.drifts.assign(tf.where(self.step.value == 0, tf.zeros_like(cosines), 1.0 - cosines))
        queued = fresh
        if self._slow:
            with self._slow.scope():
                queued = self._embed()
        self.then.assign(queued)
        return tf.no_op()

    def _embed(self) -> tf.Tensor:
        """Directions, `[levels, items, dim]`."""
        embeddings = self._items(tf.cast(self._images, tf.float32), self._token_ids, training=False)
        return tf.stop_gradient(tf.math.l2_normalize(tf.stack(embeddings), axis=-1))
