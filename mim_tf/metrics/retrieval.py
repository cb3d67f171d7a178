"""Retrieval metrics of paired embeddings: how early each query finds what belongs to it."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]

CUTOFFS = (1, 5, 10)
_SIMILARITIES_AT_ONCE = 2**24  # 64 MiB in float32
# Cosines closer than this are a tie. The same two vectors differ by 1e-7 and more from one place of a product of
# matrices to another, so without it an encoder that gives one embedding to all items would win some ranks by rounding.
_TIE = 1e-6


def retrieval_metrics(queries: npt.ArrayLike, candidates: npt.ArrayLike, groups: npt.ArrayLike) -> dict[str, float]:
    """Return recall at 1, 5 and 10 and the mean reciprocal rank of the right candidate, by cosine similarity.

    ```
    rank(q) = 1 + number of wrong candidates with sim >= that of the best right one
    R@k = share of queries with rank <= k        MRR = mean of 1 / rank
    ```

    Ties count against the query, so an encoder that maps everything to one point is at the bottom: each of its ranks is
    the number of wrong candidates plus one. Cosines within 1e-6 are a tie. An embedding of zeros has similarity 0 to
    all. Computed in float32, in blocks of rows: at most 2^24 similarities, or one row of them, at a time. With what is
    made of them that is about 200 MiB.

    Args:
        queries: `[n, dim]` embeddings.
        candidates: `[n, dim]` embeddings; row i belongs to query i.
        groups: `[n]` integers, bytes or strings. Candidates of a query's own group are all right: items with equal
            titles, for one, cannot be told apart by them. Pass `range(n)` where only the pair itself is right.

    Returns:
        `recall_at_1`, `recall_at_5`, `recall_at_10` and `mrr`, each from 0 to 1.

    Raises:
        ValueError: the shapes differ, there are no rows, or an embedding is not finite.

    Example:
        >>> queries = [[1.0, 0.0], [0.0, 1.0]]
        >>> metrics = retrieval_metrics(queries, [[0.9, 0.1], [0.8, 0.2]], ["shoe", "shirt"])
        >>> metrics["recall_at_1"], metrics["mrr"]  # both queries rank their own candidate first
        (1.0, 1.0)
    """
    query_rows, candidate_rows = _directions(queries, "queries"), _directions(candidates, "candidates")
    if query_rows.shape != candidate_rows.shape:
        raise ValueError(
            f"`candidates` must have the shape of `queries`. Received: shapes {candidate_rows.shape} and "
            f"{query_rows.shape}."
        )
    names = np.asarray(groups)
    if names.shape != query_rows.shape[:1]:
        raise ValueError(f"`groups` must have one per query, {len(query_rows)}. Received: shape {names.shape}.")
    ranks = _ranks(query_rows, candidate_rows, np.unique(names, return_inverse=True)[1])
    recalls = {f"recall_at_{cutoff}": float(np.mean(ranks <= cutoff)) for cutoff in CUTOFFS}
    return {**recalls, "mrr": float(np.mean(1 / ranks))}


def nearest(queries: npt.ArrayLike, candidates: npt.ArrayLike, k: int) -> Indices:
    """Return each query's `k` most similar candidates by cosine, best first; of equal ones the lower index first.

    Computed in float32, in blocks of rows as `retrieval_metrics` does. All candidates are sorted: about 2 ms a query
    where they are 10,000.

    Args:
        queries: `[queries, dim]` embeddings.
        candidates: `[candidates, dim]` embeddings.
        k: how many, from 1 to the number of candidates.

    Returns:
        `[queries, k]` indices into `candidates`.

    Raises:
        ValueError: the dimensions differ, `k` is out of range, there are no rows, or an embedding is not finite.
    """
    query_rows, candidate_rows = _directions(queries, "queries"), _directions(candidates, "candidates")
    if query_rows.shape[1] != candidate_rows.shape[1]:
        raise ValueError(
            f"`candidates` must have the dimension of `queries`. Received: {candidate_rows.shape[1]} and "
            f"{query_rows.shape[1]}."
        )
    if not 1 <= k <= len(candidate_rows):
        raise ValueError(f"`k` must be from 1 to the number of candidates, {len(candidate_rows)}. Received: {k}.")
    blocks = _similarities(query_rows, candidate_rows)
    return np.concatenate([np.argsort(-block, axis=1, kind="stable")[:, :k] for _, block in blocks])


def _ranks(queries: Embeddings, candidates: Embeddings, groups: Indices) -> Indices:
    """The rank of each query's best right candidate, `[n]`, from 1."""
    ranks = []
    for rows, block in _similarities(queries, candidates):
        right = groups[rows, np.newaxis] == groups  # [block, n]
        best = np.max(block, axis=1, where=right, initial=-np.inf)
        ranks.append(1 + np.count_nonzero(~right & (block >= best[:, np.newaxis] - _TIE), axis=1))
    return np.concatenate(ranks)


def _similarities(queries: Embeddings, candidates: Embeddings) -> Iterator[tuple[slice, Embeddings]]:
    """The rows of each block of queries, and their similarities to all candidates, `[block, candidates]`."""
    block = max(1, _SIMILARITIES_AT_ONCE // len(candidates))
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        yield rows, queries[rows] @ candidates.T


def _directions(embeddings: npt.ArrayLike, name: str) -> Embeddings:
    """The embeddings at length 1, float32."""
    rows = np.asarray(embeddings, np.float32)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"`{name}` must be two-dimensional and not empty. Received: shape {rows.shape}.")
    strange = int(np.count_nonzero(~np.isfinite(rows).all(axis=1)))
    if strange:
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity in {strange} of {len(rows)} rows.")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, 1e-12)
