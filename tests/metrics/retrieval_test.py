"""Recall, reciprocal rank and nearest neighbours against loops in float64 and against scikit-learn."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score
from sklearn.neighbors import NearestNeighbors

from mim_tf.metrics import nearest, retrieval, retrieval_metrics


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def by_loop(
    queries: np.ndarray,
    candidates: np.ndarray,
    groups: list,
    candidate_groups: list,
    excluded: list[int] | None = None,
    cutoffs: tuple[int, ...] = (1, 5, 10),
) -> dict[str, float]:
    """Each query's rank by walking through the sorted candidates; no two similarities are closer than 1e-5."""
    ranks = []
    for row, query in enumerate(queries):
        order = sorted(range(len(candidates)), key=lambda j, q=query: -cosine(q, candidates[j]))
        wrong_before = 0
        for j in order:
            if excluded and j == excluded[row]:
                continue
            if candidate_groups[j] == groups[row]:
                break
            wrong_before += 1
        ranks.append(1 + wrong_before)
    recalls = {f"recall_at_{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in cutoffs}
    return {**recalls, "mrr": sum(1 / rank for rank in ranks) / len(ranks)}


def noisy_pairs(rows: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(rows, dim))
    return queries, queries + 1.5 * rng.normal(size=(rows, dim))


def test_by_hand() -> None:
    # Similarities to the candidates at 0, 90 and 180 degrees:
    # query 0 at 10 degrees: own first, rank 1. Query 1 at 30 degrees: own second, rank 2.
    # Query 2 at 0 degrees: 1, 0 and -1, own last, rank 3.
    at = {angle: (np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))) for angle in (0, 10, 30, 90, 180)}
    metrics = retrieval_metrics([at[10], at[30], at[0]], [at[0], at[90], at[180]], ["a", "b", "c"], ["a", "b", "c"])
    assert metrics == {
        "recall_at_1": pytest.approx(1 / 3),
        "recall_at_5": 1.0,
        "recall_at_10": 1.0,
        "mrr": pytest.approx((1 + 1 / 2 + 1 / 3) / 3),
    }


@pytest.mark.parametrize("kind", ["int64", "str", "bytes"])
@pytest.mark.parametrize("at_once", [2**24, 100, 1])
def test_against_a_loop_with_shared_groups(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_SIMILARITIES_AT_ONCE", at_once)  # one block, blocks of a row or two, single rows
    queries, candidates = noisy_pairs(50, 6, seed=1)
    numbers = np.random.default_rng(2).integers(0, 30, 50)
    groups = {"int64": numbers, "str": numbers.astype(str), "bytes": numbers.astype("S")}[kind]
    metrics = retrieval_metrics(queries, candidates, groups, groups)
    assert metrics == pytest.approx(by_loop(queries, candidates, groups.tolist(), groups.tolist()))
    assert 0 < metrics["recall_at_1"] < metrics["recall_at_5"] < metrics["recall_at_10"] < 1


@pytest.mark.parametrize("kind", ["int64", "str", "bytes", "object"])
@pytest.mark.parametrize("at_once", [2**24, 100, 1])
def test_more_candidates_than_queries_of_which_some_are_left_out(
    kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "_SIMILARITIES_AT_ONCE", at_once)
    rng = np.random.default_rng(7)
    candidates = rng.normal(size=(90, 6))
    sources = rng.integers(0, 90, 40)  # each query is a candidate with some noise
    queries = candidates[sources] + 0.7 * rng.normal(size=(40, 6))
    numbers = np.arange(90) % 45  # two candidates a group
    excluded = np.where(rng.random(40) < 0.5, sources, -1)
    names = {"int64": numbers, "str": numbers.astype(str), "bytes": numbers.astype("S")}
    names["object"] = np.array(names["bytes"].tolist(), dtype=object)  # as TensorFlow hands strings out
    groups = names[kind]
    how = {"cutoffs": (1, 3, 20)}
    metrics = retrieval_metrics(queries, candidates, groups[sources], groups, excluded=excluded, **how)
    expected = by_loop(queries, candidates, numbers[sources].tolist(), numbers.tolist(), excluded.tolist(), **how)
    assert metrics == pytest.approx(expected)
    assert 0 < metrics["recall_at_1"] < metrics["recall_at_3"] < metrics["recall_at_20"] < 1
    with_all = retrieval_metrics(queries, candidates, groups[sources], groups, **how)
    assert with_all["mrr"] > metrics["mrr"] + 0.1  # the nearest right answers are those that were left out


def test_a_candidate_that_is_left_out_is_neither_right_nor_wrong() -> None:
    # Similarities 1, 0.8 and 0. The first one left out, the second is at rank 1; with it, at rank 2.
    candidates = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]
    ranked = (candidates, [7], [3, 7, 3])
    assert retrieval_metrics([[1.0, 0.0]], *ranked)["mrr"] == 1 / 2
    assert retrieval_metrics([[1.0, 0.0]], *ranked, excluded=[0])["mrr"] == 1.0
    assert retrieval_metrics([[1.0, 0.0]], *ranked, excluded=[2])["mrr"] == 1 / 2


def test_against_scikit_learn() -> None:
    queries, candidates = noisy_pairs(60, 8, seed=3)
    similarities = np.array([[cosine(query, candidate) for candidate in candidates] for query in queries])
    metrics = retrieval_metrics(queries, candidates, np.arange(60), np.arange(60))
    # With one right candidate, the average precision of a ranking is the reciprocal of its rank.
    assert metrics["mrr"] == pytest.approx(label_ranking_average_precision_score(np.eye(60), similarities))
    for k in (1, 5, 10):
        assert metrics[f"recall_at_{k}"] == pytest.approx(top_k_accuracy_score(np.arange(60), similarities, k=k))


def test_an_equal_title_is_a_right_answer() -> None:
    # Query 0 is nearest to candidate 1; so is query 1, whose own it is.
    queries, candidates = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]
    for groups, mrr in {("shoe", "shirt"): (1 / 2 + 1) / 2, ("shoe", "shoe"): 1.0}.items():
        assert retrieval_metrics(queries, candidates, groups, groups)["mrr"] == mrr


@pytest.mark.parametrize(("rows", "dim"), [(7, 3), (200, 64), (1003, 255)])
def test_a_constant_encoder_is_at_the_bottom(rows: int, dim: int) -> None:
    # 64 and 255 dimensions: products of equal vectors then differ by rounding, 1e-7 and more.
    rng = np.random.default_rng(rows)
    queries, candidates = np.tile(rng.normal(size=dim), (rows, 1)), np.tile(rng.normal(size=dim), (rows, 1))
    groups = np.r_[0, np.arange(rows - 1)]  # the first two rows share theirs
    metrics = retrieval_metrics(queries, candidates, groups, groups)
    # All wrong candidates tie: n - 1 of them, n - 2 for the two that share.
    assert metrics["mrr"] == pytest.approx(((rows - 2) / rows + 2 / (rows - 1)) / rows)
    assert metrics["recall_at_1"] == 0
    assert metrics["recall_at_5"] == 0


def test_the_order_of_the_pairs_and_the_lengths_do_not_matter() -> None:
    queries, candidates = noisy_pairs(40, 5, seed=4)
    groups = np.arange(40) // 2
    rng = np.random.default_rng(5)
    order, lengths = rng.permutation(40), rng.uniform(0.1, 10, (40, 1))
    paired = (groups[order], groups[order])
    shuffled = retrieval_metrics((queries * lengths)[order], (candidates / lengths)[order], *paired)
    assert shuffled == pytest.approx(retrieval_metrics(queries, candidates, groups, groups))


def test_an_embedding_of_zeros_is_similar_to_none() -> None:
    # Query 0 is zeros: similarity 0 to both, a tie. Query 1 is nearer to candidate 1 than to the zeros.
    rows = [[0.0, 0.0], [0.0, 1.0]]
    assert retrieval_metrics(rows, rows, [0, 1], [0, 1])["mrr"] == (1 / 2 + 1) / 2


@pytest.mark.parametrize("at_once", [2**24, 1])
def test_nearest_against_scikit_learn(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_SIMILARITIES_AT_ONCE", at_once)
    rng = np.random.default_rng(6)
    queries, candidates = rng.normal(size=(9, 4)), rng.normal(size=(30, 4))
    expected = NearestNeighbors(metric="cosine").fit(candidates).kneighbors(queries, 7, return_distance=False)
    np.testing.assert_array_equal(nearest(queries, candidates, 7), expected)


def test_of_equal_candidates_the_first_is_nearest() -> None:
    candidates = [[0.0, 1.0], [2.0, 0.0], [1.0, 0.0], [0.0, 3.0]]
    np.testing.assert_array_equal(nearest([[1.0, 0.0]], candidates, 4), [[1, 2, 0, 3]])


def test_nearest_leaves_candidates_out() -> None:
    queries, candidates = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [0.0, -3.0]]
    np.testing.assert_array_equal(nearest(queries, candidates, 3, excluded=[1, -1]), [[2, 0, 3], [1, 2, 0]])


NAN = [[np.nan, 1.0], [0.0, 1.0]]
ROWS = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("queries", "candidates", "message"),
    [
        (NAN, ROWS, "`queries` must be finite. Received: NaN or infinity in 1 of 2 rows"),
        (ROWS, [[np.inf, 1.0], *NAN[:1]], "`candidates` must be finite. Received: NaN or infinity in 2 of 2"),
        (ROWS, [[1.0]], r"`candidates` must have the dimension of `queries`. Received: 1 and 2"),
        ([1.0], [1.0], r"`queries` must be two-dimensional and not empty. Received: shape \(1,\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"`queries` must be two-dimensional and not empty. Received: shape"),
    ],
)
def test_bad_embeddings(queries: list, candidates: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(queries, candidates, [0, 1], [0, 1])


@pytest.mark.parametrize(
    ("groups", "candidate_groups", "how", "message"),
    [
        ([0], [0, 1], {}, r"`query_groups` must have one per query, 2. Received: shape \(1,\)"),
        ([0, 1], [0, 1, 2], {}, r"`candidate_groups` must have one per candidate, 2. Received: shape \(3,\)"),
        ([0, 1], ["0", "1"], {}, "`candidate_groups` must be of the kind of `query_groups`, int64. Received: <U1"),
        (["a", "b"], ["a", "c"], {}, "Received: none of .*'b'.*, the group of query 1"),
        (["a", "b"], ["a", "b"], {"excluded": [0, -1]}, "Received: none of .*'a'.*, the group of query 0"),
        ([0, 1], [0, 1], {"excluded": [0]}, r"`excluded` must be one integer per query, 2. Received: int64 of sh"),
        ([0, 1], [0, 1], {"excluded": [0.0, 1.0]}, "`excluded` must be one integer per query, 2. Received: float64"),
        ([0, 1], [0, 1], {"excluded": [-1, 2]}, "`excluded` must be indices of the 2 candidates, .*Received: -1 to 2"),
        ([0, 1], [0, 1], {"excluded": [-2, 1]}, "`excluded` must be indices of the 2 candidates, .*Received: -2 to 1"),
        ([0, 1], [0, 1], {"cutoffs": (5, 0)}, r"`cutoffs` must be at least 1. Received: \(5, 0\)"),
    ],
)
def test_bad_groups(groups: list, candidate_groups: list, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(ROWS, ROWS, groups, candidate_groups, **how)


@pytest.mark.parametrize(
    ("candidates", "k", "message"),
    [
        (ROWS, 0, "`k` must be from 1 to the number of candidates, 2. Received: 0"),
        (ROWS, 3, "`k` must be from 1 to the number of candidates, 2. Received: 3"),
        ([[1.0]], 1, "`candidates` must have the dimension of `queries`. Received: 1 and 2"),
        (NAN, 1, "`candidates` must be finite. Received: NaN or infinity in 1 of 2 rows"),
    ],
)
def test_nearest_refuses(candidates: list, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest(ROWS, candidates, k)


def test_nearest_counts_what_is_left_out() -> None:
    with pytest.raises(ValueError, match=r"`k` must be from 1 to the number of candidates, 1. Received: 2"):
        nearest(ROWS, ROWS, 2, excluded=[-1, 0])
