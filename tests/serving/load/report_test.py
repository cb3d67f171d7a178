"""The report: a table for people, numbers for programs, and a picture that can be looked at."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mim_tf.serving.load.outcomes import Outcome, Outcomes
from mim_tf.serving.load.phases import Measured, Notes
from mim_tf.serving.load.picture import draw_report
from mim_tf.serving.load.report import report_lines, write_report
from mim_tf.serving.load.summary import summaries_of


def measured(
    phase: str, rate: float, milliseconds: list[float], failed: int = 0, notes: Notes | None = None, late: float = 0.1
) -> Measured:
    """Requests at this rate for 2 s, sent so many ms late; the last ones failed."""
    codes = ["OK"] * (len(milliseconds) - failed) + ["UNAVAILABLE"] * failed
    outcomes = [
        Outcome(number / rate, number / rate + late / 1000, number / rate + took / 1000, code)
        for number, (took, code) in enumerate(zip(milliseconds, codes, strict=True))
    ]
    return Measured(phase, rate, 0.0, 2.0, Outcomes.of(outcomes), notes or {})


# 101 values 1 .. 101: the median is 51, and percentile p is 1 + p.
STEADY = measured("steady", 50.0, [float(number) for number in range(1, 102)])
UPSERT = measured("upsert", 50.0, [200.0] * 8 + [1.0] * 2, 2, {"upserts": 7, "upsert_p50_ms": 2.5})


def test_the_table_by_hand() -> None:
    assert report_lines(summaries_of([STEADY, UPSERT])) == [
        "phase   rate  achieved  sent  answered    p50    p90    p99  p99.9    max  p99/steady  errors",
        "steady  50/s    50.5/s   101       101   51.0   91.0  100.0  100.9  101.0        1.00  none",
        "upsert  50/s     4.0/s    10         8  200.0  200.0  200.0  200.0  200.0        2.00  2 UNAVAILABLE",
        "",
        "steady at 50/s: requests were sent late by p99 0.10 ms, longest 0.10 ms.",
        "upsert at 50/s: requests were sent late by p99 0.10 ms, longest 0.10 ms.",
        "  upserts 7, upsert p50 ms 2.5.",
    ]


def test_a_late_generator_and_the_knee() -> None:
    lines = report_lines(summaries_of([measured("steady", rate, [10.0] * 5, late=6) for rate in (10.0, 20.0)]))
    late = "requests were sent late by p99 6.00 ms, longest 6.00 ms - over a tenth of p99: the generator was slow."
    assert lines[-3:] == [
        f"steady at 10/s: {late}",
        f"steady at 20/s: {late}",
        "Highest rate up to which nothing failed and p99 was at most 3 times that of the lowest rate: 20/s.",
    ]


def test_nothing_was_answered() -> None:
    lines = report_lines(summaries_of([measured("steady", 50.0, [1.0] * 3, 3)]))
    assert lines[1].split() == ["steady", "50/s", "0.0/s", "3", "0", *["-"] * 6, "3", "UNAVAILABLE"]


def test_numbers_as_json(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    phases = [STEADY, UPSERT, measured("steady", 90.0, [1.0], 1)]
    write_report(summaries_of(phases), {"seconds": 2.0, "left_out": ["reload"]}, path)
    read = json.loads(path.read_text())
    assert (read["seconds"], read["left_out"], read["knee"]) == (2.0, ["reload"], 50.0)
    steady, upsert, failed = read["phases"]
    assert (steady["p50"], steady["p99"]) == pytest.approx((51.0, 100.0))
    assert (steady["sent"], steady["errors"]) == (101, {})
    assert upsert["notes"] == {"upserts": 7, "upsert_p50_ms": 2.5}
    assert failed["p50"] is failed["p99"] is None  # JSON has no NaN


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    curve = measured("steady", 90.0, [3.0] * 40)
    nothing = measured("reload", 50.0, [])
    for name, phases, height in (("one", [STEADY, UPSERT, nothing], 770), ("several", [STEADY, curve, UPSERT], 1100)):
        path = tmp_path / f"{name}.png"
        draw_report(phases, summaries_of(phases), path)
        with Image.open(path) as picture:
            assert picture.size == (1100, height)  # 10 x 7 or 10 inches of 110 dots
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10
