"""What contrastive learning brings about: positive pairs that lie together, and rows spread over the sphere."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.contrastive.product_rows import product_rows

_SHARPNESS = 2.0  # t of the paper


def alignment(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """How far positive pairs lie apart: 0 where each pair is one direction, 4 where all are opposite.

    `mean_i ||x_i - y_i||^2` of the normalised rows, in float32; alpha of the paper is 2.

    Args:
        x: `[rows, dim]` embeddings, normalised here.
        y: `[rows, dim]` embeddings, normalised here; row i is the positive of row i of `x`.

    Returns:
        A float32 scalar, lower is better.

    Reference: Wang & Isola (arXiv 2005.10242), section 4.
    """
    return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(_directions(x), _directions(y)), axis=-1))


def uniformity(x: tf.Tensor) -> tf.Tensor:
    """How evenly the rows lie on the sphere: 0 where all are one point, about -4 where many are spread.

    `log mean_(i != j) exp(-2 ||x_i - x_j||^2)` of the normalised rows, in float32; t of the paper is 2.

    Args:
        x: `[rows, dim]` embeddings, normalised here. A single row is spread over nothing: 0.

    Returns:
        A float32 scalar, lower is better.

    Reference: Wang & Isola (arXiv 2005.10242), section 4.
    """
    directions = _directions(x)
    rows = tf.shape(directions)[0]
    to_others = product_rows(_log_potentials, directions, directions, tf.range(rows))
    pairs = tf.cast(rows, tf.float32) * tf.cast(rows - 1, tf.float32)
    return tf.where(rows > 1, tf.reduce_logsumexp(to_others) - tf.math.log(tf.maximum(pairs, 1.0)), 0.0)


def _log_potentials(cosines: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """`log sum_(j != i) exp(-2 ||x_i - x_j||^2)`, `[block, 1]`, for the rows of these numbers."""
    # ||x_i - x_j||^2 = 2 - 2 cos; rounding leaves those of equal rows a little below zero.
    exponents = -_SHARPNESS * tf.maximum(2 - 2 * cosines, 0.0)
    itself = numbers[:, tf.newaxis] == tf.range(tf.shape(cosines)[1])
    return tf.reduce_logsumexp(tf.where(itself, exponents.dtype.min, exponents), axis=1, keepdims=True)


def _directions(x: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(tf.cast(x, tf.float32), axis=-1)
