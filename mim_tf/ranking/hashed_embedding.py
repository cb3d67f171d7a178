"""ID embeddings without a vocabulary."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.embedding_rows import embedding_rows

_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # right shift and factor
_LAST_SHIFT = 31


@keras.utils.register_keras_serializable(package="mim_tf")
class HashedEmbedding(keras.layers.Layer):
    """Embeds ids by the bin they hash into: nothing to build beforehand, and an id never seen has a row too.

    Rows start near zero, so that the row of an id without behaviour says next to nothing. Integers and strings hash
    differently: 12 and "12" have different rows.

    Args:
        bins: rows of the embedding matrix; with few rows per id, ids share rows.
        dim: dimension of an embedding.

    Call arguments:
        ids: `[...]` integers or strings.

    Returns:
        `[..., dim]`.

    Raises:
        ValueError: `bins` or `dim` is not positive.

    Reference: Weinberger et al., Feature Hashing for Large Scale Multitask Learning (arXiv 0902.2206).
    """

    def __init__(self, bins: int, dim: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.supports_jit = False  # XLA has no strings
        if bins < 1 or dim < 1:
            raise ValueError(f"`bins` and `dim` must be positive. Received: {bins}, {dim}.")
        self.bins = bins
        self.dim = dim
        self.embedding = embedding_rows(bins, dim, self.dtype_policy)

    def build(self, ids_shape: Any) -> None:
        """Create the rows."""
        self.embedding.build(ids_shape)
        self.built = True

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Embed a batch of ids."""
        is_text = ids.dtype == tf.string
        return self.embedding(tf.strings.to_hash_bucket_fast(ids, self.bins) if is_text else hash_bins(ids, self.bins))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "bins": self.bins, "dim": self.dim}


def hash_bins(ids: tf.Tensor, bins: int) -> tf.Tensor:
    """The bin of each integer id: SplitMix64's finaliser modulo `bins`.

    For shifts `s` and factors `f`, in 64 bits: `x <- (x xor (x >> s)) f`, twice, then `x <- x xor (x >> 31)`.

    Args:
        ids: integers of any shape; an `int32` has the bin of the `int64`.
        bins: how many there are.

    Returns:
        int64 in `[0, bins)`, of the shape of `ids`.

    Reference: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    bits = tf.bitcast(tf.cast(ids, tf.int64), tf.uint64)  # unsigned: shifts bring in zeros, products wrap around
    for shift, factor in _ROUNDS:
        bits = _xor_shift(bits, shift) * tf.constant(factor, tf.uint64)
    return tf.cast(_xor_shift(bits, _LAST_SHIFT) % tf.constant(bins, tf.uint64), tf.int64)


def _xor_shift(bits: tf.Tensor, shift: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64)))
