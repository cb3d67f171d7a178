"""Retrieval metrics of embeddings: how early each query finds what belongs to it."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]

CUTOFFS = (1, 5, 10)
_SIMILARITIES_AT_ONCE = 2**24  # 64 MiB in float32
# Cosines closer than this are a tie. The same two vectors differ by 1e-7 and more from one place of a product of
# matrices to another, so without it an encoder that gives one embedding to all items would win some ranks by rounding.
_TIE = 1e-6


def retrieval_metrics(
    queries: npt.ArrayLike,
    candidates: npt.ArrayLike,
    query_groups: npt.ArrayLike,
    candidate_groups: npt.ArrayLike,
    *,
    excluded: npt.ArrayLike | None = None,
    cutoffs: Sequence[int] = CUTOFFS,
) -> dict[str, float]:
    """Return recall at some cutoffs and the mean reciprocal rank of the right candidate, by cosine similarity.

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
        candidates: `[m, dim]` embeddings.
        query_groups: `[n]` integers, bytes or strings. Candidates of a query's own group are all right: items with
            equal titles, for one, cannot be told apart by them.
        candidate_groups: `[m]`, of the same kind.
        excluded: `[n]` integers: of each query the index of one candidate that is left out of its ranking, where the
            query is that item's own picture; -1 for none.
        cutoffs: the k of R@k, each at least 1.

    Returns:
        `recall_at_<k>` for each cutoff and `mrr`, each from 0 to 1.

    Raises:
        ValueError: the shapes or kinds do not fit, there are no rows, an embedding is not finite, an index is out of
            range, or a query has no right candidate.

    Example:
        >>> queries, candidates = [[1.0, 0.0], [0.0, 1.0]], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.7]]
        >>> metrics = retrieval_metrics(queries, candidates, ["shoe", "shirt"], ["shoe", "shirt", "skirt"])
        >>> metrics["recall_at_1"], metrics["mrr"]  # the second query ranks a skirt before the shirt
        (0.5, 0.75)
    """
    query_rows, candidate_rows = _comparable(queries, candidates)
    if min(cutoffs, default=1) < 1:
        raise ValueError(f"`cutoffs` must be at least 1. Received: {tuple(cutoffs)}.")
    groups = _numbered_groups(query_groups, candidate_groups, len(query_rows), len(candidate_rows))
    left_out = _left_out(excluded, len(query_rows), len(candidate_rows))
    _refuse_queries_without_an_answer(np.asarray(query_groups), *groups, left_out)
    ranks = _ranks(query_rows, candidate_rows, *groups, left_out)
    recalls = {f"recall_at_{cutoff}": float(np.mean(ranks <= cutoff)) for cutoff in cutoffs}
    return {**recalls, "mrr": float(np.mean(1 / ranks))}


def nearest(
    queries: npt.ArrayLike, candidates: npt.ArrayLike, k: int, *, excluded: npt.ArrayLike | None = None
) -> Indices:
    """Return each query's `k` most similar candidates by cosine, best first; of equal ones the lower index first.

    Computed in float32, in blocks of rows as `retrieval_metrics` does. All candidates are sorted: about 2 ms a query
    where they are 10,000.

    Args:
        queries: `[queries, dim]` embeddings.
        candidates: `[candidates, dim]` embeddings.
        k: how many, from 1 to the number of candidates that are not left out.
        excluded: as in `retrieval_metrics`.

    Returns:
        `[queries, k]` indices into `candidates`.

    Raises:
        ValueError: the dimensions differ, `k` or an index is out of range, there are no rows, or an embedding is not
            finite.
    """
    query_rows, candidate_rows = _comparable(queries, candidates)
    left_out = _left_out(excluded, len(query_rows), len(candidate_rows))
    most = len(candidate_rows) - bool((left_out >= 0).any())
    if not 1 <= k <= most:
        raise ValueError(f"`k` must be from 1 to the number of candidates, {most}. Received: {k}.")
    blocks = _similarities(query_rows, candidate_rows, left_out)
    return np.concatenate([np.argsort(-block, axis=1, kind="stable")[:, :k] for _, block in blocks])


def _ranks(
    queries: Embeddings, candidates: Embeddings, query_groups: Indices, candidate_groups: Indices, left_out: Indices
) -> Indices:
    """The rank of each query's best right candidate, `[n]`, from 1."""
    ranks = []
    for rows, block in _similarities(queries, candidates, left_out):
        right = query_groups[rows, np.newaxis] == candidate_groups  # [block, m]
        best = np.max(block, axis=1, where=right, initial=-np.inf)
        ranks.append(1 + np.count_nonzero(~right & (block >= best[:, np.newaxis] - _TIE), axis=1))
    return np.concatenate(ranks)


def _similarities(queries: Embeddings, candidates: Embeddings, left_out: Indices) -> Iterator[tuple[slice, Embeddings]]:
    """The rows of each block of queries, and their similarities to all candidates, `[block, m]`; -inf if left out."""
    size = max(1, _SIMILARITIES_AT_ONCE // len(candidates))
    for start in range(0, len(queries), size):
        rows = slice(start, start + size)
        block = queries[rows] @ candidates.T
        without = np.flatnonzero(left_out[rows] >= 0)
        block[without, left_out[rows][without]] = -np.inf
        yield rows, block


def _numbered_groups(
    query_groups: npt.ArrayLike, candidate_groups: npt.ArrayLike, queries: int, candidates: int
) -> tuple[Indices, Indices]:
    """Both groups as numbers, equal where they are equal."""
    names, other_names = np.asarray(query_groups), np.asarray(candidate_groups)
    if names.shape != (queries,):
        raise ValueError(f"`query_groups` must have one per query, {queries}. Received: shape {names.shape}.")
    if other_names.shape != (candidates,):
        raise ValueError(
            f"`candidate_groups` must have one per candidate, {candidates}. Received: shape {other_names.shape}."
        )
    if names.dtype.kind != other_names.dtype.kind:  # put together, numbers would become text and match nothing
        raise ValueError(
            f"`candidate_groups` must be of the kind of `query_groups`, {names.dtype}. Received: {other_names.dtype}."
        )
    numbers = np.unique(np.concatenate([names, other_names]), return_inverse=True)[1]
    return numbers[:queries], numbers[queries:]


def _refuse_queries_without_an_answer(
    names: npt.NDArray, query_groups: Indices, candidate_groups: Indices, left_out: Indices
) -> None:
    answers = np.bincount(candidate_groups, minlength=query_groups.max() + 1)[query_groups]
    answers -= (left_out >= 0) & (candidate_groups[left_out] == query_groups)
    if not answers.all():
        query = int(np.argmin(answers))
        raise ValueError(
            "`candidate_groups` must hold each query's group, beside the candidate that the query leaves out. "
            f"Received: none of {names[query]!r}, the group of query {query}."
        )


def _left_out(excluded: npt.ArrayLike | None, queries: int, candidates: int) -> Indices:
    """The candidate that each query leaves out, `[n]`; -1 for none."""
    indices = np.full(queries, -1) if excluded is None else np.asarray(excluded)
    if indices.shape != (queries,) or indices.dtype.kind not in "iu":
        raise ValueError(
            f"`excluded` must be one integer per query, {queries}. Received: {indices.dtype} of shape {indices.shape}."
        )
    if indices.min() < -1 or indices.max() >= candidates:
        raise ValueError(
            f"`excluded` must be indices of the {candidates} candidates, or -1. "
            f"Received: {indices.min()} to {indices.max()}."
        )
    return indices.astype(np.int64)


def _comparable(queries: npt.ArrayLike, candidates: npt.ArrayLike) -> tuple[Embeddings, Embeddings]:
    """Both embeddings at length 1."""
    query_rows, candidate_rows = _directions(queries, "queries"), _directions(candidates, "candidates")
    if query_rows.shape[1] != candidate_rows.shape[1]:
        raise ValueError(
            f"`candidates` must have the dimension of `queries`. Received: {candidate_rows.shape[1]} and "
            f"{query_rows.shape[1]}."
        )
    return query_rows, candidate_rows


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
