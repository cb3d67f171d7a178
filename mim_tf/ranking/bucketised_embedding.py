"""Embeddings of numbers by the bucket they fall into."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.embedding_rows import embedding_rows


@keras.utils.register_keras_serializable(package="mim_tf")
class BucketisedEmbedding(keras.layers.Layer):
    """Embeds a number by the bucket it falls into: for what does not grow or fall along with the number.

    Args:
        boundaries: ascending; bucket `i` holds numbers from `boundaries[i - 1]` on and below `boundaries[i]`.
        dim: dimension of an embedding.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        values: integer or floating point, `[...]`.

    Returns:
        `[..., dim]`.

    Raises:
        ValueError: `boundaries` do not ascend, or `dim` is not positive.

    Example:
        >>> BucketisedEmbedding([10.0, 20.0], 4)(tf.constant([9.0, 10.0, 99.0])).shape
        TensorShape([3, 4])
    """

    def __init__(self, boundaries: Sequence[float], dim: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        cuts = [float(boundary) for boundary in boundaries]
        if not all(low < high for low, high in pairwise(cuts)):
            raise ValueError(f"`boundaries` must ascend. Received: {cuts}.")
        if dim < 1:
            raise ValueError(f"`dim` must be positive. Received: {dim}.")
        self.boundaries = cuts
        self.dim = dim
        self.embedding = embedding_rows(len(cuts) + 1, dim, self.dtype_policy)

    def build(self, values_shape: Any) -> None:
        """Create the rows."""
        self.embedding.build(values_shape)
        self.built = True

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Embed a batch of numbers."""
        wide = tf.cast(values, tf.float32 if values.dtype.is_floating else tf.int64)
        return self.embedding(tf.raw_ops.Bucketize(input=wide, boundaries=list(self.boundaries)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "boundaries": list(self.boundaries), "dim": self.dim}
