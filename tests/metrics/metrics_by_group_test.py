import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mim_tf.metrics import age_groups, auc, metrics_by_group


@pytest.mark.parametrize("kind", ["int64", "str", "bytes"])
def test_against_a_loop_over_groups(kind: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    scores = (rng.normal(size=600) + labels).round(1)
    numbers = rng.zipf(1.4, 600) % 30
    groups = {"int64": numbers, "str": numbers.astype(str), "bytes": numbers.astype("S")}[kind]
    expected = {}
    for group in sorted(set(groups.tolist())):
        rows = groups == group
        if rows.sum() >= 10 and len(set(labels[rows])) == 2:
            expected[group] = (roc_auc_score(labels[rows], scores[rows]), rows.sum(), labels[rows].mean())
    measured = metrics_by_group(labels, scores, groups, min_impressions=10)
    assert list(measured) == list(expected)
    assert 3 < len(expected) < len(set(numbers))
    for group, row in measured.items():
        assert row == pytest.approx(expected[group], abs=1e-12)


def test_single_class_and_small_groups_are_left_out() -> None:
    labels = [0, 1, 0, 1, 1, 1, 0, 1]
    groups = ["both"] * 4 + ["clicks only"] * 2 + ["small"] * 2
    measured = metrics_by_group(labels, [0.1, 0.9, 0.5, 0.2, 0.3, 0.4, 0.2, 0.3], groups, min_impressions=3)
    # Clicks at 0.9 and 0.2, non-clicks at 0.1 and 0.5: three of four pairs in order.
    assert measured == {"both": (0.75, 4, 0.5)}


def test_one_group_is_the_plain_auc() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 100), rng.normal(size=100)
    assert metrics_by_group(labels, scores, np.full(100, 7))[7] == (auc(labels, scores), 100, labels.mean())


def test_by_age_group() -> None:
    # Clicks on new items are predicted, those on old ones are not.
    rng = np.random.default_rng(0)
    ages, labels = rng.permutation(5000), rng.integers(0, 2, 5000)
    scores = rng.normal(size=5000) + 2 * labels * (ages < 2500)
    measured = metrics_by_group(labels, scores, age_groups(ages))
    assert list(measured) == list(range(1, 11))
    assert {row.impressions for row in measured.values()} == {500}
    # A normal shifted by two: the AUC is Phi(2 / sqrt(2)) = 0.921, with a standard error of 0.012.
    assert [measured[group].auc for group in range(1, 6)] == pytest.approx([0.921] * 5, abs=0.04)
    assert [measured[group].auc for group in range(6, 11)] == pytest.approx([0.5] * 5, abs=0.08)


@pytest.mark.parametrize(
    ("labels", "scores", "groups", "error", "message"),
    [
        ([0, 1, 1], [1, 2, 3], "aab", ValueError, "at least 100 impressions .* Received: 2 groups of up to 2 impr"),
        ([0, 1, 1], [1, 2, 3], "aa", ValueError, r"`groups` must have the shape of `labels`. Received: shapes \(2,\)"),
        (
            [0, 1, 1],
            [1, 2, 3],
            ["a", None, "b"],
            TypeError,
            "`groups` must be .*, one kind of them. Received: NoneType",
        ),
        ([0, 1, 5], [1, 2, 3], "aab", ValueError, "`labels` must be 0 or 1. Received: 5"),
        ([1, 1, 1], [1, 2, 3], "aab", ValueError, "`labels` must hold both 0 and 1. Received: 3 labels, all 1"),
        ([0, 1, 1], [1, np.nan, 3], "aab", ValueError, "`scores` must not be NaN. Received: 1 NaN of 3"),
    ],
)
def test_bad_input(labels: list[int], scores: list[float], groups, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        metrics_by_group(labels, scores, list(groups))
