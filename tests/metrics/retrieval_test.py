"""Recall, reciprocal rank and nearest neighbours against loops in float64 and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score
from sklearn.neighbors import NearestNeighbors

from mim_tf.metrics import nearest, retrieval, retrieval_metrics


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def by_loop(queries: np.ndarray, candidates: np.ndarray, groups: list) -> dict[str, float]:
    """Each query's rank by walking through the sorted candidates; no two similarities are closer than 1e-5."""
    ranks = []
    for row, query in enumerate(queries):
        order = sorted(range(len(candidates)), key=lambda j, q=query: -cosine(q, candidates[j]))
        wrong_before = 0
        for j in order:
            if groups[j] == groups[row]:
                break
            wrong_before += 1
        ranks.append(1 + wrong_before)
    recalls = {f"recall_at_{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5, 10)}
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
    metrics = retrieval_metrics([at[10], at[30], at[0]], [at[0], at[90], at[180]], ["a", "b", "c"])
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
    metrics = retrieval_metrics(queries, candidates, groups)
    assert metrics == pytest.approx(by_loop(queries, candidates, groups.tolist()))
    assert 0 < metrics["recall_at_1"] < metrics["recall_at_5"] < metrics["recall_at_10"] < 1


def test_against_scikit_learn() -> None:
    queries, candidates = noisy_pairs(60, 8, seed=3)
    similarities = np.array([[cosine(query, candidate) for candidate in candidates] for query in queries])
    metrics = retrieval_metrics(queries, candidates, np.arange(60))
    # With one right candidate, the average precision of a ranking is the reciprocal of its rank.
    assert metrics["mrr"] == pytest.approx(label_ranking_average_precision_score(np.eye(60), similarities))
    for k in (1, 5, 10):
        assert metrics[f"recall_at_{k}"] == pytest.approx(top_k_accuracy_score(np.arange(60), similarities, k=k))


def test_an_equal_title_is_a_right_answer() -> None:
    # Query 0 is nearest to candidate 1; so is query 1, whose own it is.
    queries, candidates = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]
    assert retrieval_metrics(queries, candidates, ["shoe", "shirt"])["mrr"] == (1 / 2 + 1) / 2
    assert retrieval_metrics(queries, candidates, ["shoe", "shoe"])["mrr"] == 1.0


@pytest.mark.parametrize(("rows", "dim"), [(7, 3), (200, 64), (1003, 255)])
def test_a_constant_encoder_is_at_the_bottom(rows: int, dim: int) -> None:
    # 64 and 255 dimensions: products of equal vectors then differ by rounding, 1e-7 and more.
    rng = np.random.default_rng(rows)
    queries, candidates = np.tile(rng.normal(size=dim), (rows, 1)), np.tile(rng.normal(size=dim), (rows, 1))
    groups = np.r_[0, np.arange(rows - 1)]  # the first two rows share theirs
    metrics = retrieval_metrics(queries, candidates, groups)
    # All wrong candidates tie: n - 1 of them, n - 2 for the two that share.
    assert metrics["mrr"] == pytest.approx(((rows - 2) / rows + 2 / (rows - 1)) / rows)
    assert metrics["recall_at_1"] == 0
    assert metrics["recall_at_5"] == 0


def test_the_order_of_the_pairs_and_the_lengths_do_not_matter() -> None:
    queries, candidates = noisy_pairs(40, 5, seed=4)
    groups = np.arange(40) // 2
    rng = np.random.default_rng(5)
    order, lengths = rng.permutation(40), rng.uniform(0.1, 10, (40, 1))
    shuffled = retrieval_metrics((queries * lengths)[order], (candidates / lengths)[order], groups[order])
    assert shuffled == pytest.approx(retrieval_metrics(queries, candidates, groups))


def test_an_embedding_of_zeros_is_similar_to_none() -> None:
    # Query 0 is zeros: similarity 0 to both, a tie. Query 1 is nearer to candidate 1 than to the zeros.
    assert retrieval_metrics([[0.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]], [0, 1])["mrr"] == (1 / 2 + 1) / 2


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


NAN = [[np.nan, 1.0], [0.0, 1.0]]
ROWS = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("queries", "candidates", "groups", "message"),
    [
        (NAN, ROWS, [0, 1], "`queries` must be finite. Received: NaN or infinity in 1 of 2 rows"),
        (ROWS, [[np.inf, 1.0], *NAN[:1]], [0, 1], "`candidates` must be finite. Received: NaN or infinity in 2 of 2"),
        (ROWS, ROWS[:1], [0, 1], r"`candidates` must have the shape of `queries`. Received: shapes \(1, 2\) and"),
        (ROWS, ROWS, [0], r"`groups` must have one per query, 2. Received: shape \(1,\)"),
        ([1.0], [1.0], [0], r"`queries` must be two-dimensional and not empty. Received: shape \(1,\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), [], r"`queries` must be two-dimensional and not empty. Received: shape"),
    ],
)
def test_bad_pairs(queries: list, candidates: list, groups: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(queries, candidates, groups)


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
