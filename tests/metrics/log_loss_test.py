import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

from mim_tf.metrics import log_loss


def test_by_hand() -> None:
    # -(ln 0.8 + ln(1 - 0.5)) / 2 = (0.223144 + 0.693147) / 2
    assert log_loss([1, 0], [0.8, 0.5]) == pytest.approx(0.4581454, abs=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_against_scikit_learn(dtype: type[np.floating], tolerance: float) -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 300), rng.uniform(size=300).astype(dtype)
    assert log_loss(labels, probabilities) == pytest.approx(sklearn_log_loss(labels, probabilities), rel=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sure_mistake_costs_a_finite_amount(dtype: type[np.floating]) -> None:
    labels, probabilities = [1, 0, 1], np.array([0.0, 1.0, 1.0], dtype)
    loss = log_loss(labels, probabilities)
    assert np.isfinite(loss)
    assert loss == pytest.approx(sklearn_log_loss(labels, probabilities), rel=1e-6)


def test_a_single_class_has_a_log_loss() -> None:
    assert log_loss([1, 1], [0.5, 0.25]) == pytest.approx(1.5 * np.log(2))


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.5, 1.5], r"`probabilities` must be in \[0, 1\]. Received: from 0.5 to 1.5"),
        ([-0.5, 0.5], r"`probabilities` must be in \[0, 1\]. Received: from -0.5 to 0.5"),
        ([np.nan, 0.5], "`probabilities` must not be NaN. Received: 1 NaN of 2"),
        ([0.5], r"`probabilities` must have the shape of `labels`. Received: shapes \(1,\) and \(2,\)"),
    ],
)
def test_bad_input(probabilities: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_loss([0, 1], probabilities)
