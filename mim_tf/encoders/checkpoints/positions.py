"""Position embeddings for an image size that the checkpoint was not made for."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras
import numpy as np


def resize_grid(embeddings: np.ndarray, places: int, leading: int, antialias: bool = True) -> np.ndarray:
    """Bicubic resizing of the square grid that position embeddings lie on.

    Args:
        embeddings: `[..., leading + old_places, dim]`.
        places: how many places there shall be, a square number.
        leading: embeddings before the grid that stay as they are, such as the class token's.
        antialias: widen the kernel when the grid shrinks, and use its form a = -0.5, as Pillow and timm do; without,
            a = -0.75, as transformers does.

    Returns:
        `[..., leading + places, dim]`, the same values where the size is the same.

    Raises:
        ValueError: the grid is not square.
    """
    old = embeddings.shape[-2] - leading
    if old == places:
        return embeddings
    old_side, side = math.isqrt(max(old, 0)), math.isqrt(places)
    if old_side**2 != old or side**2 != places or not old:
        raise ValueError(f"position embeddings must lie on a square grid. Received: {old} places for {places}.")
    weights = _cubic_weights(old_side, side, antialias)  # [side, old_side]
    grid = embeddings[..., leading:, :].reshape(*embeddings.shape[:-2], old_side, old_side, -1)
    resized = np.einsum("ai,bj,...ijd->...abd", weights, weights, grid, optimize=True)
    flat = resized.reshape(*embeddings.shape[:-2], places, -1).astype(embeddings.dtype)
    return np.concatenate([embeddings[..., :leading, :], flat], axis=-2)


def copy_weights(source: keras.Model, target: keras.Model, grids: Mapping[str, int]) -> None:
    """All weights of a model to one that differs in its image size at most.

    Args:
        source: the model to copy from.
        target: the model to copy to, with variables of the same paths.
        grids: paths of position embeddings and how many leading ones are of no place.
    """
    values = {variable.path: keras.ops.convert_to_numpy(variable) for variable in source.weights}
    for variable in target.weights:
        value = values[variable.path]  # a preset has more, such as poolers
        if variable.path in grids:
            leading = grids[variable.path]
            value = resize_grid(value, variable.shape[-2] - leading, leading)
        variable.assign(value)


def _cubic_weights(old: int, new: int, antialias: bool) -> np.ndarray:
    """`[new, old]`: what each old place adds to each new one, pixel centres at one half (Keys' cubic convolution)."""
    scale = old / new
    width = max(scale, 1.0) if antialias else 1.0
    a = -0.5 if antialias else -0.75
    centres = (np.arange(new) + 0.5) * scale - 0.5
    places = np.arange(-3 * math.ceil(width), old + 3 * math.ceil(width))
    distance = np.abs(centres[:, np.newaxis] - places[np.newaxis, :]) / width
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    kernel = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    inside = (places >= 0) & (places < old)
    if antialias:  # places outside do not count
        kernel = np.where(inside, kernel, 0.0)
        kernel /= kernel.sum(axis=1, keepdims=True)
        return kernel[:, inside]
    nearest = np.clip(places, 0, old - 1)  # places outside repeat the border's
    return kernel @ (nearest[:, np.newaxis] == np.arange(old))
