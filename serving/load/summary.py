"""A phase in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from mim_tf.serving.load.outcomes import OK
from mim_tf.serving.load.phases import Measured, Notes

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_NOTICEABLE = 5.0  # ms
_LATE = 0.1  # of p99; a generator that is later than that measures itself
_KNEE = 3.0  # times the p99 at the lowest rate


class Summary(NamedTuple):
    """What a phase saw; latencies in milliseconds from when a request was due (`Outcomes.latency`)."""

    phase: str
    rate: float  # wanted, requests per second
    sent: int
    answered: int
    errors: dict[str, int]  # by gRPC code
    achieved: float  # answers per second
    p50: float
    p90: float
    p99: float
    p999: float
    longest: float
    to_steady: float  # p99, of the steady phase's at the same rate
    late_p99: float  # ms by which requests were sent too late: the generator's own delay
    late_longest: float
    notes: Notes

    @property
    def late(self) -> bool:
        """Whether the generator was slow: its own delay is noticeable, and more than a tenth of what it measured."""
        return self.late_p99 > max(_LATE * self.p99, _NOTICEABLE)


def summaries_of(phases: Sequence[Measured]) -> list[Summary]:
    """The numbers of each phase; NaN where nothing was answered."""
    found: list[Summary] = []
    for measured in phases:
        steady = next((one.p99 for one in found if one.phase == "steady" and one.rate == measured.rate), None)
        found.append(_summary(measured, steady))
    return found


def knee(summaries: Sequence[Summary]) -> float | None:
    """The highest rate up to which nothing failed and p99 was at most 3 times that of the lowest rate.

    Args:
        summaries: of all phases, of which the steady ones count; None is returned where these have one rate only, or
            where the lowest is not good.
    """
    steady = sorted((one for one in summaries if one.phase == "steady"), key=lambda one: one.rate)
    good = list(takewhile(lambda one: not one.errors and one.p99 <= _KNEE * steady[0].p99, steady))
    return good[-1].rate if len(steady) > 1 and good else None


def _summary(measured: Measured, steady: float | None) -> Summary:
    outcomes = measured.outcomes
    answered = int((outcomes.codes == OK).sum())
    latency = 1e3 * outcomes.latency[outcomes.waited]
    late = 1e3 * outcomes.lateness
    p50, p90, p99, p999 = (_percentile(latency, percentile) for percentile in PERCENTILES)
    return Summary(
        phase=measured.phase,
        rate=measured.rate,
        sent=len(outcomes.due),
        answered=answered,
        errors=outcomes.errors,
        achieved=answered / measured.seconds,
        p50=p50,
        p90=p90,
        p99=p99,
        p999=p999,
        longest=_percentile(latency, 100),
        to_steady=p99 / (p99 if steady is None else steady),
        late_p99=_percentile(late, 99),
        late_longest=_percentile(late, 100),
        notes=measured.notes,
    )


def _percentile(values: np.ndarray, percentile: float) -> float:
    return float(np.percentile(values, percentile)) if len(values) else float("nan")
