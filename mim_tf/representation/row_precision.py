"""How a table keeps its rows: in half precision, or as 8-bit integers with a scale per row."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

ROW_DTYPES = ("float16", "int8")

_LARGEST = 127  # of an 8-bit integer, the same in both directions


def quantise(embeddings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows as 8-bit integers, each with the scale that maps its largest component to 127 or -127.

    ```
    scale = max |x| / 127      q = round(x / scale)
    ```

    Args:
        embeddings: `[items, dim]` of any float type.

    Returns:
        `[items, dim]` int8, and scales `[items]` float32; zero rows have the scale 0.
    """
    embeddings = tf.cast(embeddings, tf.float32)
    scales = tf.reduce_max(tf.abs(embeddings), axis=-1) / _LARGEST
    return tf.cast(tf.round(tf.math.divide_no_nan(embeddings, scales[:, tf.newaxis])), tf.int8), scales


def dequantise(rows: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
    """What `quantise` rounded: `[..., dim]` float16 of `[..., dim]` int8 and scales `[...]` float32."""
    return tf.cast(tf.cast(rows, tf.float32) * scales[..., tf.newaxis], tf.float16)


def cosine_errors(embeddings: np.ndarray, dtype: str) -> np.ndarray:
    """What a precision costs: 1 - cos(x, x') of each row x and the row x' that a table gives back.

    Args:
        embeddings: `[items, dim]`, in more precision than `dtype`; no row is zero.
        dtype: one of `ROW_DTYPES`.

    Returns:
        `[items]` float64.
    """
    rows = tf.constant(embeddings, tf.float32)
    kept = dequantise(*quantise(rows)) if dtype == "int8" else tf.cast(rows, tf.float16)
    one, other = embeddings.astype(np.float64), kept.numpy().astype(np.float64)
    # 1 - cos = |u - v|^2 / 2 of unit vectors: nothing cancels
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    return np.square(one - other).sum(axis=1) / 2
