import numpy as np
import pytest
import scipy.stats

from mim_tf.metrics import paired_seed_interval, seed_interval


@pytest.mark.parametrize(
    ("seeds", "confidence", "quantile"),
    # Fisher's table of Student's t: degrees of freedom 1, 4, 9, 4; two-sided.
    [(2, 0.95, 12.706), (5, 0.95, 2.776), (10, 0.95, 2.262), (5, 0.99, 4.604)],
)
def test_against_the_printed_table(seeds: int, confidence: float, quantile: float) -> None:
    values = np.random.default_rng(seeds).normal(0.65, 0.01, seeds)
    interval = seed_interval(values, confidence=confidence)
    deviation = np.sqrt(((values - values.sum() / seeds) ** 2).sum() / (seeds - 1))
    half = quantile * deviation / np.sqrt(seeds)
    assert interval.estimate == pytest.approx(values.sum() / seeds)
    assert (interval.upper - interval.estimate) == pytest.approx(half, rel=3e-4)
    assert (interval.estimate - interval.lower) == pytest.approx(half, rel=3e-4)


def test_paired_against_scipy() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0.65, 0.02, 5)
    values = base + rng.normal(0.01, 0.002, 5)
    expected = scipy.stats.ttest_rel(values, base).confidence_interval(0.95)
    interval = paired_seed_interval(values, base)
    assert interval == pytest.approx(((values - base).mean(), expected.low, expected.high))
    # What the seeds share is ten times what they do not; only pairs find the gain.
    assert interval.lower > 0
    assert seed_interval(values).lower < base.mean()


def test_coverage() -> None:
    rng = np.random.default_rng(0)
    intervals = np.array([seed_interval(values) for values in rng.normal(0.65, 0.01, (2000, 5))])
    covered = (intervals[:, 1] < 0.65) & (intervals[:, 2] > 0.65)
    assert covered.mean() == pytest.approx(0.95, abs=0.015)  # three standard errors


def test_one_seed_has_no_interval_and_proves_nothing() -> None:
    for interval in (seed_interval([0.7]), paired_seed_interval([0.71], [0.01])):
        assert interval.estimate == pytest.approx(0.7)
        assert np.isnan([interval.lower, interval.upper]).all()
        assert not interval.lower > 0


def test_equal_seeds_have_an_interval_of_no_width() -> None:
    assert seed_interval([0.75, 0.75, 0.75]) == (0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"`values` must be one-dimensional and not empty. Received: shape \(0,\)"),
        ([[0.7, 0.8]], r"`values` must be one-dimensional and not empty. Received: shape \(1, 2\)"),
        ([0.7, np.nan], r"`values` must be finite: leave failed seeds out. Received: \[0.7, nan\]"),
    ],
)
def test_bad_input(values: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seed_interval(values)


@pytest.mark.parametrize("confidence", [0, 1, 95, np.nan])
def test_bad_confidence(confidence: float) -> None:
    with pytest.raises(ValueError, match=f"`confidence` must be between 0 and 1, .* Received: {confidence}"):
        seed_interval([0.7, 0.8], confidence=confidence)


def test_pairs_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"must be of the same seeds\. Received: 2 and 3 values"):
        paired_seed_interval([0.7, 0.8], [0.7, 0.8, 0.9])
    with pytest.raises(ValueError, match="`base_values` must be finite"):
        paired_seed_interval([0.7, 0.8], [0.7, np.inf])
