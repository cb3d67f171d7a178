"""A phase in numbers, by NumPy and by hand."""

import math

import numpy as np
import pytest

from mim_tf.serving.load.outcomes import Outcome, Outcomes
from mim_tf.serving.load.phases import Measured
from mim_tf.serving.load.summary import Summary, knee, summaries_of


def measured(
    latency: np.ndarray, phase: str = "steady", rate: float = 10.0, codes: tuple[str, ...] = (), late: float = 0.0
) -> Measured:
    """Requests due each 0.1 s that took so long, in seconds; the first ended with `codes`."""
    due = 0.1 * np.arange(len(latency))
    names = [*codes, *["OK"] * (len(latency) - len(codes))]
    outcomes = Outcomes.of([Outcome(*row) for row in zip(due, due + late, due + latency, names, strict=True)])
    return Measured(phase, rate, 0.0, 20.0, outcomes, {})


def test_percentiles_are_numpys_in_milliseconds() -> None:
    latency = np.random.default_rng(0).lognormal(-4, 1, 5000)
    (one,) = summaries_of([measured(latency)])
    found = [one.p50, one.p90, one.p99, one.p999, one.longest]
    np.testing.assert_allclose(found, 1000 * np.percentile(latency, [50, 90, 99, 99.9, 100]))
    assert (one.sent, one.answered, one.achieved, one.errors) == (5000, 5000, 250.0, {})  # in 20 s


def test_refusals_do_not_make_a_server_look_fast_and_time_outs_count() -> None:
    # 0.001 s: refused; 5 s: time was up; the rest was answered in 0.1 s.
    latency = np.array([0.001] * 60 + [5.0] * 10 + [0.1] * 30)
    (one,) = summaries_of([measured(latency, codes=("UNAVAILABLE",) * 60 + ("DEADLINE_EXCEEDED",) * 10)])
    assert one.errors == {"DEADLINE_EXCEEDED": 10, "UNAVAILABLE": 60}
    assert (one.sent, one.answered, one.achieved) == (100, 30, 1.5)
    assert one.p50 == pytest.approx(100)  # of 30 x 100 ms and 10 x 5000 ms
    assert one.p99 == pytest.approx(5000)


def test_p99_is_compared_with_the_steady_one_of_the_same_rate() -> None:
    phases = [
        measured(np.full(10, 0.01)),
        measured(np.full(10, 0.5), rate=20.0),
        measured(np.full(10, 0.03), phase="upsert"),
    ]
    assert [one.to_steady for one in summaries_of(phases)] == pytest.approx([1, 1, 3])


@pytest.mark.parametrize(("late", "expected"), [(0.0099, False), (0.0101, True)])
def test_a_generator_is_late_from_a_tenth_of_what_it_measured(late: float, expected: bool) -> None:
    (one,) = summaries_of([measured(np.full(10, 0.1), late=late)])
    assert one.late_p99 == pytest.approx(1000 * late)
    assert one.late is expected


def test_what_nobody_would_notice_is_not_late() -> None:
    (one,) = summaries_of([measured(np.full(10, 0.01), late=0.0049)])
    assert not one.late


def test_nothing_was_answered() -> None:
    (one,) = summaries_of([measured(np.full(3, 0.01), codes=("UNAVAILABLE",) * 3)])
    assert math.isnan(one.p50)
    assert (one.answered, one.achieved) == (0, 0.0)
    (none,) = summaries_of([measured(np.zeros(0))])
    assert math.isnan(none.p99)
    assert none.sent == 0


def at(rate: float, p99: float, codes: tuple[str, ...] = ()) -> Summary:
    return summaries_of([measured(np.full(10, p99), rate=rate, codes=codes)])[0]


def test_the_knee_is_the_last_rate_that_is_good() -> None:
    good, fair, slow, failing = at(10, 0.01), at(50, 0.0299), at(70, 0.031), at(60, 0.01, ("UNAVAILABLE",))
    assert knee([slow, good, failing, fair]) == 50
    assert knee([good, failing, at(65, 0.01)]) == 10
    assert knee([good]) is None
    assert knee([at(10, 0.01, ("UNAVAILABLE",)), slow]) is None
