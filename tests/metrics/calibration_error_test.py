import numpy as np
import pytest

from mim_tf.metrics import calibration_error, predicted_over_observed


def test_by_hand() -> None:
    # In order: 0.1 0.2 | 0.3 0.6 | 0.7 0.8 predict 0.15, 0.45, 0.75; the click rates are 0, 1/2, 1/2.
    labels, probabilities = [1, 0, 0, 1, 0, 0], [0.8, 0.1, 0.3, 0.6, 0.2, 0.7]
    assert calibration_error(labels, probabilities, bins=3) == pytest.approx((0.15 + 0.05 + 0.25) / 3)


def test_one_bin_is_the_bias_on_the_whole() -> None:
    assert calibration_error([0, 1, 0, 0], [0.9, 0.1, 0.5, 0.3], bins=1) == pytest.approx(0.45 - 0.25)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_constant_prediction_has_one_bin_in_any_row_order(dtype: type[np.floating]) -> None:
    labels = np.repeat([0, 1], [750, 250])
    for order in (np.arange(1000), np.arange(1000)[::-1], np.random.default_rng(0).permutation(1000)):
        assert calibration_error(labels[order], np.full(1000, 0.5, dtype)) == pytest.approx(0.25)


def test_ties_give_the_same_error_in_any_row_order() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.beta(1, 9, 500).round(2)
    labels = rng.uniform(size=500) < probabilities
    errors = [calibration_error(labels[order], probabilities[order]) for order in map(rng.permutation, [500] * 5)]
    np.testing.assert_allclose(errors, errors[0], rtol=1e-12)


def test_bins_of_equal_mass_see_what_bins_of_equal_width_do_not() -> None:
    # Half the impressions are predicted at 2% and never clicked, half at 4% and clicked at 6%: on the whole 3%, as
    # predicted, and all in the first of twenty bins of equal width.
    probabilities, labels = np.repeat([0.02, 0.04], 5000), np.zeros(10_000)
    labels[5000:5300] = 1
    assert calibration_error(labels, probabilities) == pytest.approx(0.02)
    assert predicted_over_observed(labels, probabilities) == pytest.approx(1.0)


def test_the_error_that_chance_gives_a_calibrated_model() -> None:
    rng = np.random.default_rng(0)
    click_rate, impressions, bins = 0.3, 5000, 20
    # All but equal, so that the bins are random and each one's error is nearly normal.
    probabilities = click_rate + rng.uniform(-1e-9, 1e-9, impressions)
    errors = [calibration_error(rng.uniform(size=impressions) < click_rate, probabilities) for _ in range(200)]
    expected = np.sqrt(2 * bins * click_rate * (1 - click_rate) / (np.pi * impressions))
    assert np.mean(errors) == pytest.approx(expected, rel=0.05)


def test_fewer_impressions_than_bins() -> None:
    assert calibration_error([0, 1], [0.25, 0.5], bins=20) == pytest.approx((0.25 + 0.5) / 2)


def test_predicted_over_observed_by_hand() -> None:
    assert predicted_over_observed([0, 1, 0, 0, 1], [0.5, 0.25, 0.25, 0.0, 0.5]) == 0.75


def test_half_precision_adds_up_exactly() -> None:
    # In float16 the sum of 60,000 quarters would stop at 512.
    assert predicted_over_observed([1] * 60_000, np.full(60_000, 0.25, np.float16)) == 0.25


def test_a_single_class() -> None:
    assert calibration_error([0, 0], [0.1, 0.1]) == pytest.approx(0.1)
    assert predicted_over_observed([1, 1], [0.5, 0.7]) == pytest.approx(0.6)
    with pytest.raises(
        ValueError, match=r"`labels` must hold a 1, or there is no click rate\. Received: 2 labels, all 0"
    ):
        predicted_over_observed([0, 0], [0.5, 0.7])


@pytest.mark.parametrize("metric", [calibration_error, predicted_over_observed])
@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 3], [0.5, 0.5], "`labels` must be 0 or 1. Received: 3"),
        ([0, 1], [0.5, np.nan], "`probabilities` must not be NaN. Received: 1 NaN of 2"),
        ([0, 1], [0.5, 1.5], r"`probabilities` must be in \[0, 1\]. Received: from 0.5 to 1.5"),
        ([0, 1], [0.5], r"`probabilities` must have the shape of `labels`. Received: shapes \(1,\) and \(2,\)"),
    ],
)
def test_bad_input(metric, labels: list[int], probabilities: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(labels, probabilities)


def test_no_bins() -> None:
    with pytest.raises(ValueError, match=r"`bins` must be at least 1\. Received: 0"):
        calibration_error([0, 1], [0.5, 0.5], bins=0)
