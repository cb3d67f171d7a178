"""Numbers as the page writes them."""

import math

import pytest

from mim_tf.metrics import Interval
from mim_tf.report.numbers import age_text, duration_text, interval_text, number_text, time_text


def test_intervals() -> None:
    assert interval_text(Interval(0.61234, 0.6, 0.625)) == "0.6123 (0.6000 to 0.6250)"
    assert interval_text(Interval(0.01, -0.02, 0.04), "+") == "+0.0100 (-0.0200 to 0.0400)"
    assert interval_text(Interval(-0.5, math.nan, math.nan), "+") == "-0.5000"


@pytest.mark.parametrize(("value", "text"), [(46453.0, "46,453"), (0, "0"), (0.13071, "0.1307"), (math.inf, "inf")])
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.24, "4.2 s"), (59.96, "60.0 s"), (200, "3 min 20 s"), (7500.4, "2 h 5 min"), (3600, "1 h 0 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_times_and_ages() -> None:
    assert time_text(1_735_689_600 + 61) == "2025-01-01 00:01"
    assert age_text(86_400 * 3.5) == "3.5 days"
    assert age_text(5400) == "1.5 hours"
