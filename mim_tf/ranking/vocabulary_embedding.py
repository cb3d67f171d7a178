"""Embeddings of a feature's known values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.embedding_rows import embedding_rows


@keras.utils.register_keras_serializable(package="mim_tf")
class VocabularyEmbedding(keras.layers.Layer):
    """Embeds values that are known beforehand; all others share row 0.

    Args:
        vocabulary: the values, all str or all int; value `i` has row `i + 1`.
        dim: dimension of an embedding.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        values: string or integer, as the vocabulary, `[...]`.

    Returns:
        `[..., dim]`.

    Raises:
        ValueError: `vocabulary` is empty, holds a value twice or values of two types, or `dim` is not positive.
        TypeError: `values` are of another type than the vocabulary.

    Example:
        >>> VocabularyEmbedding(["red", "blue"], 4)(tf.constant(["blue", "never seen"])).shape
        TensorShape([2, 4])
    """

    def __init__(self, vocabulary: Sequence[str] | Sequence[int], dim: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.supports_jit = False  # XLA has no look-up tables
        values = list(vocabulary)
        if len({type(value) for value in values}) != 1 or len(set(values)) != len(values):
            raise ValueError(f"`vocabulary` must hold distinct values of one type. Received: {values[:10]}.")
        if dim < 1:
            raise ValueError(f"`dim` must be positive. Received: {dim}.")
        self.vocabulary = values
        self.dim = dim
        keys = tf.constant(values) if isinstance(values[0], str) else tf.constant(values, tf.int64)
        self._value_dtype = keys.dtype
        rows = tf.range(1, len(values) + 1, dtype=tf.int64)
        initializer = tf.lookup.KeyValueTensorInitializer(keys, rows)
        self.index = tf.lookup.StaticHashTable(initializer, default_value=0)
        self.embedding = embedding_rows(len(values) + 1, dim, self.dtype_policy)

    def build(self, values_shape: Any) -> None:
        """Create the rows."""
        self.embedding.build(values_shape)
        self.built = True

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Embed a batch of values."""
        if (values.dtype == tf.string) != (self._value_dtype == tf.string):
            raise TypeError(f"`values` must be {self._value_dtype.name}. Received: {values.dtype.name}.")
        return self.embedding(self.index.lookup(tf.cast(values, self._value_dtype)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "vocabulary": list(self.vocabulary), "dim": self.dim}
