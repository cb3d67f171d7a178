"""Rotary position embedding of patches on a square grid: angles that tell where a token lies."""

from __future__ import annotations

from functools import cache

import numpy as np
import tensorflow as tf

_SLOWEST = 10_000.0  # places per radian, which the slowest channels come near to


@cache
def rotary_tables(head_dim: int, grid: int, reference_grid: int) -> tuple[np.ndarray, np.ndarray]:
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
    turns = places[:, np.newaxis] * frequencies  # [grid, head_dim / 4]
    rows, columns = np.repeat(turns, grid, axis=0), np.tile(turns, (grid, 1))
    patches = np.concatenate([rows, columns], axis=1).repeat(2, axis=1)
    angles = np.concatenate([np.zeros((1, head_dim)), patches])
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


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
    swap = np.kron(np.eye(channels.shape[-1] // 2), [[0.0, 1.0], [-1.0, 0.0]])  # (a, b) to (-b, a)
    return channels * cosines + tf.tensordot(channels, tf.constant(swap, channels.dtype), 1) * sines
