"""A table of the report: numbers with their intervals, as CSV, Markdown and cells of a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.figure import Figure

from mim_tf.metrics import Interval

SIGNIFICANT = 0.05


class Number(NamedTuple):
    """A measured number.

    Attributes:
        interval: it and its 95% interval, whose ends are NaN where there is none.
        p: of its being zero, corrected for the tests of the table; None if it is no difference.
    """

    interval: Interval
    p: float | None = None

    def __str__(self) -> str:
        """`+0.0221 ± 0.0139 *`: differences have a sign, and a star where chance is not likely.

        An interval that lies unevenly around its number is shown by its ends: `+0.0221 (0.0102 to 0.0395)`.
        """
        estimate, lower, upper = self.interval
        text = f"{estimate:{'' if self.p is None else '+'}.4f}"
        if lower == lower:
            even = abs((upper - estimate) - (estimate - lower)) < 1e-9
            text += f" ± {(upper - lower) / 2:.4f}" if even else f" ({lower:.4f} to {upper:.4f})"
        return text + (" *" if self.p is not None and self.p < SIGNIFICANT else "")


Value = Number | int | float | str | None


@dataclass(frozen=True)
class Sheet:
    """One table, and what is drawn of it.

    Attributes:
        name: of its files, as `table2`.
        title: what it shows.
        columns: after the first, which names the rows; a row may lack some.
        rows: each one's name, and its values by column.
        notes: what a reader should know: where numbers come from, and why some are missing.
        paper: the paper's own figures.
        figure: the picture, if numbers are better seen.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, Mapping[str, Value]]]
    notes: tuple[str, ...] = ()
    paper: Sheet | None = None
    figure: Figure | None = None

    def cells(self) -> list[list[str]]:
        """The rows as text, each begun by its name."""
        return [[name, *(_shown(values.get(column)) for column in self.columns)] for name, values in self.rows]

    def markdown(self) -> str:
        """The table, its notes, and the paper's table."""
        lines = [f"## {self.title}", ""]
        if self.rows:
            lines += [_line(["", *self.columns]), _line(["---"] * (len(self.columns) + 1))]
            lines += [_line(cells) for cells in self.cells()]
            lines.append("")
        lines += [part for note in self.notes for part in (note, "")]
        return "\n".join(lines) + (f"\n{self.paper.markdown()}" if self.paper else "")

    def csv(self) -> str:
        """The table in full precision: a column for each number's estimate, ends and p-value, as far as it has any."""
        text = io.StringIO()
        records = [{"": name, **_fields(self.columns, values)} for name, values in self.rows]
        header = list(dict.fromkeys(field for record in records for field in record)) or ["", *self.columns]
        writer = csv.DictWriter(text, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue()


def empty_sheet(name: str, title: str, why: str | None, paper: Sheet | None = None) -> Sheet:
    """A sheet that says why it is empty."""
    return Sheet(name, title, (), [], (f"Empty: {(why or 'nothing was computed').removesuffix('.')}.",), paper)


def _fields(columns: Sequence[str], values: Mapping[str, Value]) -> dict[str, str | int | float]:
    fields: dict[str, str | int | float] = {}
    for column in columns:
        value = values.get(column)
        if not isinstance(value, Number):
            fields[column] = "" if value is None else value
            continue
        fields[column] = value.interval.estimate
        if value.interval.lower == value.interval.lower:
            fields |= {f"{column} lower": value.interval.lower, f"{column} upper": value.interval.upper}
        if value.p is not None and value.p == value.p:
            fields[f"{column} p"] = value.p
    return fields


def _shown(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
