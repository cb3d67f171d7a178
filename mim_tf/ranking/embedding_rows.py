"""The rows that features are embedded by."""

from __future__ import annotations

from typing import Any

from tensorflow import keras


def embedding_rows(rows: int, dim: int, dtype: Any) -> keras.layers.Embedding:
    """Rows that start near zero, so that one which was hardly ever learnt says next to nothing.

    Args:
        rows: how many.
        dim: dimension of each.
        dtype: policy of the layer that they belong to.
    """
    return keras.layers.Embedding(
        rows, dim, embeddings_initializer=keras.initializers.RandomNormal(0.0, 0.01), dtype=dtype
    )
