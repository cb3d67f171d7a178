"""Queries with what they found, as a picture in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mim_tf.metrics import nearest
from mim_tf.training.pictures import RESULTS, Direction, Shown, retrieval_grid

PICTURED = 8
"""As many queries are worth their place in a picture."""


def draw_retrieval(
    direction: Direction,
    queries: np.ndarray,
    candidates: np.ndarray,
    query_groups: Sequence[object] | npt.NDArray,
    candidate_groups: Sequence[object] | npt.NDArray,
    *,
    show_query: Callable[[int], Shown],
    show_candidates: Callable[[list[int]], Sequence[Shown]],
    excluded: npt.NDArray | None = None,
) -> None:
    """Write a picture of some queries, each with its five best candidates, under the name of the direction.

    Args:
        direction: as in `retrieval_grid`.
        queries: `[n, dim]` embeddings.
        candidates: `[m, dim]` embeddings.
        query_groups: `[n]`, as in `retrieval_metrics`; results of the query's group are framed as right.
        candidate_groups: `[m]`.
        show_query: a query's photo and title, by its row.
        show_candidates: photos and titles of candidates, by their rows; called once, with all that are found.
        excluded: as in `retrieval_metrics`.
    """
    left = len(candidates) - (excluded is not None and bool((excluded >= 0).any()))
    best = nearest(queries, candidates, min(RESULTS, left), excluded=excluded)
    found = sorted({int(row) for row in best.flat})
    shown = dict(zip(found, show_candidates(found), strict=True))
    grid = []
    for query, rows in enumerate(best):
        cosines = _cosines(queries[query], candidates[rows])
        results = [
            shown[row]._replace(similarity=float(cosine), right=bool(candidate_groups[row] == query_groups[query]))
            for row, cosine in zip(rows, cosines, strict=True)
        ]
        grid.append((show_query(query), results))
    tf.summary.image(direction, retrieval_grid(grid, direction=direction)[np.newaxis])


def _cosines(query: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    return candidates @ query / (np.linalg.norm(candidates, axis=1) * np.linalg.norm(query))
