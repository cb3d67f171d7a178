"""When requests arrive: a Poisson process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def poisson_arrivals(rate: float, seed: int) -> Iterator[float]:
    """Times of arrivals that know nothing of each other, without end.

    Many users who act on their own arrive like this: the gaps between arrivals are exponential, so that now and then
    several come at once. Equal gaps would be kinder to a server than its users are.

    Args:
        rate: mean number of arrivals in a second.
        seed: of the gaps.

    Yields:
        Seconds since the start, ascending.

    Raises:
        ValueError: `rate` is not positive and finite.
    """
    if not 0 < rate < float("inf"):
        raise ValueError(f"`rate` must be a positive number of requests per second. Received: {rate}.")
    return _arrivals(1 / rate, np.random.default_rng(seed))


def _arrivals(gap: float, generator: np.random.Generator) -> Iterator[float]:
    due = 0.0
    while True:
        due += generator.exponential(gap)
        yield due
