import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mim_tf.metrics import auc, grouped_auc


def by_loop(labels: np.ndarray, scores: np.ndarray, users: np.ndarray) -> tuple[float, int, int]:
    total, counted, impressions = 0.0, 0, 0
    for user in set(users.tolist()):
        rows = users == user
        if len(set(labels[rows])) == 2:
            total += roc_auc_score(labels[rows], scores[rows]) * rows.sum()
            counted += 1
            impressions += rows.sum()
    return total / impressions, counted, impressions


def test_by_hand() -> None:
    users = [7, 7, 7, -1, -1, 3, 3]
    labels = [1, 0, 0, 1, 0, 1, 1]
    scores = [0.5, 0.1, 0.5, 0.2, 0.3, 0.9, 0.1]
    # User 7: one pair won, one tied, 0.75 with weight 3. User -1: lost, 0 with weight 2. User 3 has no negative.
    result = grouped_auc(labels, scores, users)
    assert result.auc == pytest.approx(0.75 * 3 / 5)
    assert (result.groups, result.impressions) == (2, 5)


@pytest.mark.parametrize("decimals", [1, 12])
@pytest.mark.parametrize("kind", ["int64", "str", "bytes", "object"])
def test_against_a_loop_over_users(decimals: int, kind: str) -> None:
    rng = np.random.default_rng(decimals)
    labels = rng.integers(0, 2, 400)
    scores = (rng.normal(size=400) + labels).round(decimals)
    numbers = rng.zipf(1.5, 400) % 97 + 2**53
    users = {
        "int64": numbers,
        "str": numbers.astype(str),
        "bytes": numbers.astype("S"),
        "object": np.array([str(number).encode() for number in numbers], object),
    }[kind]
    result = grouped_auc(labels, scores, users)
    expected, counted, impressions = by_loop(labels, scores, users)
    assert result.auc == pytest.approx(expected, abs=1e-12)
    assert (result.groups, result.impressions) == (counted, impressions)
    assert 0 < impressions < 400


def test_one_group_is_the_plain_auc() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 100), rng.normal(size=100)
    assert grouped_auc(labels, scores, np.zeros(100, np.int64)) == (auc(labels, scores), 1, 100)


def test_a_users_level_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    labels, scores, users = rng.integers(0, 2, 100), rng.normal(size=100), rng.integers(0, 5, 100)
    assert grouped_auc(labels, scores + 10 * users, users) == grouped_auc(labels, scores, users)


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 1, 1], [1, 2, 3], "`groups` must hold one with both a 0 and a 1. Received: 3 groups, none such"),
        ([0, 1, 1], [1, 2], r"`groups` must have the shape of `labels`. Received: shapes \(2,\) and \(3,\)"),
        ([1, 1, 1], [1, 1, 2], "`labels` must hold both 0 and 1. Received: 3 labels, all 1"),
    ],
)
def test_bad_input(labels: list[int], groups: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouped_auc(labels, [0.1, 0.2, 0.3], groups)
