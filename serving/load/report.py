"""The report of a load test: a table for people and a file of numbers for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mim_tf.serving.load.summary import Summary, knee

_HEAD = ("phase", "rate", "achieved", "sent", "answered", "p50", "p90", "p99", "p99.9", "max", "p99/steady", "errors")


def report_lines(summaries: Sequence[Summary]) -> list[str]:
    """The table, and what is to be known of it; latencies in milliseconds."""
    table = [_HEAD, *(_cells(one) for one in summaries)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEAD))]
    lines = [_line(row, widths) for row in table]
    return [*lines, "", *(line for one in summaries for line in _remarks(one)), *_knee_line(summaries)]


def write_report(summaries: Sequence[Summary], about: Mapping[str, Any], path: Path) -> None:
    """Write the numbers as JSON.

    Args:
        summaries: of the phases.
        about: what was asked for, as JSON has it.
        path: of the file.
    """
    phases = [{name: _or_null(value) for name, value in one._asdict().items()} for one in summaries]
    report = {**about, "milliseconds": "since a request was due", "phases": phases, "knee": knee(summaries)}
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, the words before and after them to the left."""
    numbers = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *numbers, row[-1]])


def _cells(one: Summary) -> tuple[str, ...]:
    latencies = (_number(value) for value in (one.p50, one.p90, one.p99, one.p999, one.longest))
    errors = ", ".join(f"{count} {code}" for code, count in one.errors.items()) or "none"
    counts = f"{one.rate:g}/s", f"{one.achieved:.1f}/s", f"{one.sent}", f"{one.answered}"
    return one.phase, *counts, *latencies, _number(one.to_steady, 2), errors


def _remarks(one: Summary) -> list[str]:
    """The generator's own delay, and what the phase's work tells."""
    late = f"{one.late_p99:.2f} ms, longest {one.late_longest:.2f} ms"
    slow = " - over a tenth of p99: the generator was slow." if one.late else "."
    told = [f"{one.phase} at {one.rate:g}/s: requests were sent late by p99 {late}{slow}"]
    if one.notes:
        told.append("  " + ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in one.notes.items()) + ".")
    return told


def _knee_line(summaries: Sequence[Summary]) -> list[str]:
    rate = knee(summaries)
    told = "Highest rate up to which nothing failed and p99 was at most 3 times that of the lowest rate"
    return [] if rate is None else [f"{told}: {rate:g}/s."]


def _number(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _or_null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
