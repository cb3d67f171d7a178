"""Rotary position embedding of patches on a square grid: angles that tell where a token lies."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_SLOWEST = 10_000.0  # places per radian, which the slowest channels come near to


def rotary_tables(head_dim: int, grid: int, reference_grid: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Cosines and sines of the angles by which each token's channels are turned.

    The channels 2j and 2j + 1 turn by `p w_j`, `w_j = 10000^(-4j / head_dim)`: in the first half of a head p is the
    patch's row, in the second, where j starts again, its column. Rows and columns of any grid are scaled to the
    reference's, so that a finer grid lies between its places. The class token is not turned.

    Args:
        head_dim: channels of a head, a multiple of 4.
        grid: both sides of the square grid of patches.
        reference_grid: that of the pre-training.

    Returns:
        Both `[1 + grid * grid, head_dim]` float32, the class token first, then patches row by row.

    Reference: Su et al., RoFormer (arXiv 2104.09864), section 3.2; in two dimensions: Fang et al., EVA-02 (arXiv
    2303.11331), section 2.1.
    """
    frequencies = _SLOWEST ** (-np.arange(0, head_dim, 4) / head_dim)
    places = np.arange(grid) * (reference_grid / grid)
    turns = (places[:, np.newaxis] * frequencies).repeat(2, axis=1)  # [grid, head_dim / 2], of a row or a column
    return _spread(np.cos(turns), 1.0), _spread(np.sin(turns), 0.0)


def _spread(turns: np.ndarray, class_token: float) -> tf.Tensor:
    """`[grid, head_dim / 2]` to `[1 + grid * grid, head_dim]`.

    In the graph, which would else hold a constant of that size for every block.
    """
    side, (grid, half) = tf.constant(turns, tf.float32), turns.shape
    rows, columns = tf.repeat(side, grid, axis=0), tf.tile(side, [grid, 1])
    return tf.concat([tf.fill([1, 2 * half], class_token), tf.concat([rows, columns], axis=1)], axis=0)


def rotate(channels: tf.Tensor, cosines: tf.Tensor, sines: tf.Tensor) -> tf.Tensor:
    """Turn neighbouring channels: `(a, b)` becomes `(a cos - b sin, b cos + a sin)`.

    Args:
        channels: `[..., tokens, head_dim]`.
        cosines: `[tokens, head_dim]`, of the angles, the same for both of a pair.
        sines: likewise.

    Returns:
        Of the shape of `channels`.
    """
    # The pairs are swapped by a matrix product: slices with a stride, and even more so their gradient, cost several
    # times as much on a CPU.
    places = tf.range(channels.shape[-1])
    apart = places - places[:, tf.newaxis]  # 1 from a to b, -1 from b to a
    swap = tf.where(places // 2 == places[:, tf.newaxis] // 2, apart, 0)  # (a, b) to (-b, a)
    return channels * cosines + tf.tensordot(channels, tf.cast(swap, channels.dtype), 1) * sines
