"""How long embeddings are, how alike, and what fewer bits cost them; a block at a time, never all in float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_ROWS_AT_ONCE = 2**16
_QUANTILES = {"min": 0.0, "p01": 0.01, "median": 0.5, "p99": 0.99, "max": 1.0}


def blocks(items: int) -> Iterator[slice]:
    """The slices of `items` rows in which they are worked on."""
    for start in range(0, items, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, items))


def summary(values: np.ndarray) -> dict[str, float]:
    """Mean, least, largest and quantiles of `[n]` numbers, n at least 1."""
    quantiles = np.quantile(values, list(_QUANTILES.values()))
    return {"mean": float(values.mean(dtype=np.float64)), **dict(zip(_QUANTILES, quantiles.tolist(), strict=True))}


def lengths_of(embeddings: np.ndarray) -> np.ndarray:
    """Euclidean norms `[items]` float32 of `[items, dim]`."""
    lengths = np.empty(len(embeddings), np.float32)
    for block in blocks(len(embeddings)):
        lengths[block] = np.linalg.norm(embeddings[block].astype(np.float32), axis=1)
    return lengths


def paired_cosines(one: np.ndarray, one_rows: np.ndarray, other: np.ndarray, other_rows: np.ndarray) -> np.ndarray:
    """Cosines of pairs of rows, each of one matrix with one of another; that of a row of zeros is 0.

    Args:
        one: `[items, dim]`.
        one_rows: `[pairs]`.
        other: `[other_items, dim]`.
        other_rows: `[pairs]`.

    Returns:
        `[pairs]` float64.
    """
    cosines = np.empty(len(one_rows))
    for block in blocks(len(one_rows)):
        first, second = (x[rows[block]].astype(np.float64) for x, rows in ((one, one_rows), (other, other_rows)))
        scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        products = (first * second).sum(axis=1)
        cosines[block] = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return cosines


def random_pair_cosines(embeddings: np.ndarray, pairs: int, seed: int = 0) -> np.ndarray:
    """Cosines of pairs of different items, drawn with replacement; near 1 throughout if an encoder has collapsed.

    Args:
        embeddings: `[items, dim]`, at least 2 items.
        pairs: how many.
        seed: of the draw.

    Returns:
        `[pairs]` float64.
    """
    rng, items = np.random.default_rng(seed), len(embeddings)
    first = rng.integers(0, items, pairs)
    second = (first + rng.integers(1, items, pairs)) % items
    return paired_cosines(embeddings, first, embeddings, second)


def int8_costs(embeddings: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """1 - cosine of rows and of what a table of int8 rows gives back for them.

    Args:
        embeddings: `[items, dim]`.
        most: of how many rows at most, drawn without replacement.
        seed: of the draw.

    Returns:
        `[rows]` float64; rows of zeros, which cost nothing, are left out.
    """
    from mim_tf.representation.row_precision import cosine_errors  # TensorFlow, which nothing else here needs

    rng, items = np.random.default_rng(seed), len(embeddings)
    rows = np.arange(items) if items <= most else np.sort(rng.choice(items, most, replace=False))
    sample = embeddings[rows]
    sample = sample[sample.any(axis=1)]
    costs = [cosine_errors(sample[block].astype(np.float32), "int8") for block in blocks(len(sample))]
    return np.concatenate(costs) if costs else np.empty(0)
