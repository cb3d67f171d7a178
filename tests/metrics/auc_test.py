import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mim_tf.metrics import auc


def test_by_hand() -> None:
    # Positives 0.4 and 0.8, negatives 0.1 and 0.4: three pairs in order, one tied.
    assert auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8]) == 0.875


@pytest.mark.parametrize("decimals", [0, 1, 2, 12])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_against_scikit_learn(decimals: int, dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(decimals)
    labels = rng.integers(0, 2, 500)
    # Few decimals make many ties.
    scores = (rng.normal(size=500) + labels).round(decimals).astype(dtype)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(("scores", "expected"), [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([7, 7, 7, 7], 0.5)])
def test_perfect_reversed_and_constant(scores: list[int], expected: float) -> None:
    assert auc([0, 0, 1, 1], scores) == expected


def test_infinite_scores_are_ordered() -> None:
    assert auc([0, 1, 1, 0], [-np.inf, np.inf, 0.0, -np.inf]) == 1.0


@pytest.mark.parametrize("labels", [[False, True, True], [0.0, 1.0, 1.0], np.array([0, 1, 1], np.int8)])
def test_labels_of_any_type(labels: list[float]) -> None:
    assert auc(labels, [0.5, 0.6, 0.4]) == 0.5


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "`labels` must hold both 0 and 1. Received: 3 labels, all 1"),
        ([0, 0], [0.1, 0.2], "`labels` must hold both 0 and 1. Received: 2 labels, all 0"),
        ([0, 2, 1, -1], [0.1, 0.2, 0.3, 0.4], "`labels` must be 0 or 1. Received: 2, and 2 such in all"),
        ([0, np.nan], [0.1, 0.2], "`labels` must be 0 or 1. Received: nan, and 1 such in all"),
        ([0, 1], [0.1, np.nan], "`scores` must not be NaN. Received: 1 NaN of 2"),
        ([0, 1], [0.1], r"`scores` must have the shape of `labels`. Received: shapes \(1,\) and \(2,\)"),
        ([0, 1], [[0.1], [0.2]], r"`scores` must have the shape of `labels`. Received: shapes \(2, 1\) and \(2,\)"),
        ([[0], [1]], [0.1, 0.2], r"`labels` must be one-dimensional and not empty. Received: shape \(2, 1\)"),
        ([], [], r"`labels` must be one-dimensional and not empty. Received: shape \(0,\)"),
    ],
)
def test_bad_input(labels: list[float], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        auc(labels, scores)
