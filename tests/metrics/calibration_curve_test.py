"""Bins of calibration, by hand and by SciPy's Wilson interval."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mim_tf.metrics import calibration_curve, calibration_error


def test_by_hand() -> None:
    # In order: 0.1 0.2 | 0.3 0.6 | 0.7 0.8.
    curve = calibration_curve([1, 0, 0, 1, 0, 0], [0.8, 0.1, 0.3, 0.6, 0.2, 0.7], bins=3)
    np.testing.assert_allclose(curve.predicted, [0.15, 0.45, 0.75])
    np.testing.assert_allclose(curve.observed, [0, 0.5, 0.5])
    np.testing.assert_array_equal(curve.impressions, [2, 2, 2])


def test_intervals_are_scipys() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(1, 30, 400)
    labels = rng.uniform(size=400) < probabilities
    curve = calibration_curve(labels, probabilities, bins=10)
    for rate, count, lower, upper in zip(curve.observed, curve.impressions, curve.lower, curve.upper, strict=True):
        interval = binomtest(round(rate * count), int(count)).proportion_ci(method="wilson")
        assert (lower, upper) == pytest.approx((interval.low, interval.high), abs=1e-6)
        assert lower <= rate <= upper


def test_it_sums_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(1, 9, 500).round(2)
    labels = rng.uniform(size=500) < probabilities / 2
    curve = calibration_curve(labels, probabilities)
    error = np.average(np.abs(curve.predicted - curve.observed), weights=curve.impressions)
    assert error == pytest.approx(calibration_error(labels, probabilities))


def test_equal_probabilities_are_one_bin() -> None:
    curve = calibration_curve([0, 1, 0, 0], [0.5] * 4)
    assert curve.impressions.tolist() == [4]
    assert curve.observed.tolist() == [0.25]


def test_bins_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"`bins` must be at least 1\. Received: 0\."):
        calibration_curve([0, 1], [0.1, 0.2], bins=0)
