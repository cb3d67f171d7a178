"""Arrivals are a Poisson process of the rate asked for."""

from itertools import islice

import numpy as np
import pytest

from mim_tf.serving.load.arrivals import poisson_arrivals


def test_gaps_are_exponential_and_counts_are_poisson() -> None:
    due = np.array(list(islice(poisson_arrivals(50.0, seed=3), 100_000)))
    gaps = np.diff(due)
    assert (gaps > 0).all()
    # Mean and deviation of an exponential gap are both 1/50 s, and e^-1 of the gaps are longer. With 100,000 of them
    # the standard errors are 0.3 %, 0.3 % and 0.0015.
    np.testing.assert_allclose([gaps.mean(), gaps.std()], 1 / 50, rtol=0.015)
    assert (gaps > 1 / 50).mean() == pytest.approx(np.exp(-1), abs=0.008)
    counts = np.bincount(due.astype(int))[:-1]  # of each second but the last; Poisson: the variance is the mean
    np.testing.assert_allclose([counts.mean(), counts.var()], 50, rtol=0.12)


def test_the_seed_alone_chooses_them() -> None:
    first, again, other = (list(islice(poisson_arrivals(5.0, seed), 100)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    np.testing.assert_allclose(first, np.cumsum(np.random.default_rng(1).exponential(0.2, 100)))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_cannot_be(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"`rate` must be a positive number of requests per second. Received: {rate}"):
        poisson_arrivals(rate, seed=0)
