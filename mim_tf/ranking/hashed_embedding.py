"""ID embeddings without a vocabulary."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="mim_tf")
class HashedEmbedding(keras.layers.Layer):
    """Embeds ids by the bin they hash into: nothing to build beforehand, and an id never seen has a row too.

    Rows start near zero, so that the row of an id without behaviour says next to nothing.

    Args:
        bins: rows of the embedding matrix; with few rows per id, ids share rows.
        dim: dimension of an embedding.
        l2: weight of the squared rows in the loss. An id seen a few times is learnt by heart without it. With Adam it
            draws every row a little towards zero at each step, so what ids say fades unless it is said again.

    Call arguments:
        ids: `[...]` int64 or string.

    Returns:
        `[..., dim]`.

    Raises:
        ValueError: `bins` or `dim` is not positive.

    Reference: Weinberger et al., Feature Hashing for Large Scale Multitask Learning (arXiv 0902.2206).
    """

    def __init__(self, bins: int, dim: int, l2: float = 0.0, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        if bins < 1 or dim < 1:
            raise ValueError(f"`bins` and `dim` must be positive. Received: {bins}, {dim}.")
        self.bins = bins
        self.dim = dim
        self.l2 = l2
        self.embedding = keras.layers.Embedding(
            bins,
            dim,
            embeddings_initializer=keras.initializers.RandomNormal(0.0, 0.01),
            embeddings_regularizer=keras.regularizers.L2(l2) if l2 else None,
        )

    def build(self, ids_shape: Any) -> None:
        """Create the rows."""
        self.embedding.build(ids_shape)
        self.built = True

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Embed a batch of ids."""
        texts = ids if ids.dtype == tf.string else tf.as_string(ids)
        return self.embedding(tf.strings.to_hash_bucket_fast(texts, self.bins))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "bins": self.bins, "dim": self.dim, "l2": self.l2}
