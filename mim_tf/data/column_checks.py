"""Checks of columns, one by one: what keeps the contract is kept, and what breaks it is collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from mim_tf.data.sources import FILE, ROW, Source, reading
from mim_tf.errors import DataError

_EXAMPLE_LENGTH = 200
# A number as text: no leading zeros, and not more digits than a float64 keeps, or the id 007 would become 7.
# It ends with `\z`: to Java, `$` stands before a last line break too.
_NUMBER = r"(?i)^-?(((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)(e[-+]?\d+)?|nan|inf|infinity)\z"


@dataclass(frozen=True)
class _Violation:
    """One break of the contract."""

    source: Source
    column: str
    rule: str
    received: str
    rows: int
    example: str

    def __str__(self) -> str:
        """One line that says what is wrong, where, and what is there instead."""
        total = self.source.table.count().to_pyarrow().as_py()
        cut = "..." if len(self.example) > _EXAMPLE_LENGTH else ""
        example = f", e.g. {self.example[:_EXAMPLE_LENGTH]}{cut}" if self.example else ""
        return (
            f"{self.source.name}: column `{self.column}` must {self.rule}. "
            f"Received: {self.received} in {self.rows} of {total} rows{example}. "
            f"Columns there: {', '.join(self.source.columns)}."
        )


class ColumnChecks:
    """Collects the columns that keep the contract, and the violations of those that do not."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, ir.Value]] = {}
        self._violations: list[_Violation] = []

    def column(self, source: Source, name: str, *kinds: str, origin: str = "") -> None:
        """Check one column; text of untyped files is read as the first kind that fits all of it."""
        if self.is_there(source, name):
            column = source.table[name]
            with reading(source.setting, source.path):
                kind = kind_of(column, source.typed, kinds)
            if kind in kinds:
                self.keep(source, name, column.cast(kind))
            else:
                broken = source.table.filter(column.notnull() if source.typed else ~is_integer(column))
                self.violate(source, name, f"be {' or '.join(kinds)}{origin}", type_name(column), broken)

    def is_there(self, source: Source, name: str) -> bool:
        """Whether a source has a column that it must have."""
        if name not in source.columns:
            self._missing(source, name, "be there")
        return name in source.columns

    def perhaps(self, source: Source, name: str, *kinds: str) -> None:
        """Check a column that need not be there."""
        if name in source.columns:
            self.column(source, name, *kinds)

    def ids(self, name: str, first: Source, others: Sequence[Source]) -> None:
        """Check ids, which have one type in all tables, the first one's."""
        kind = _id_kind(name, first, others)
        kinds, origin = ((kind,), f" as in `{first.setting}`") if kind else (("int64", "string"), "")
        self.column(first, name, *kinds)
        for source in others:
            self.column(source, name, *kinds, origin=origin)

    def image(self, source: Source, name: str) -> None:
        """Check the image column: bytes under its name, else a path under `<name>_path`."""
        if name in source.columns:
            if source.table[name].type().is_binary():
                return  # The bytes stay in the source until they are checked one by one.
            if not source.typed:
                self._missing(source, f"{name}_path", f"be there, as CSV cannot hold the bytes of `{name}`")
                return
            self.column(source, name, "binary")
        elif f"{name}_path" in source.columns:
            self.column(source, f"{name}_path", "string")
        else:
            self._missing(source, name, f"be there, or `{name}_path`")

    def table(self, source: Source) -> ir.Table:
        """The columns of a source that were checked, cast to their kinds, with `FILE` and `ROW`."""
        return source.table.select(FILE, ROW, **self._columns[source.setting])

    def keep(self, source: Source, name: str, column: ir.Value) -> None:
        """Take a checked column of a source into its table, under a name."""
        self._columns.setdefault(source.setting, {})[name] = column

    def violate(
        self, source: Source, name: str, rule: str, received: str, broken: ir.Table, shown: Sequence[str] = ()
    ) -> None:
        """Report the `broken` rows of a column, with an example: its value in one, or those of the columns `shown`."""
        with reading(source.setting, source.path):
            rows, example = _count(broken), _example(broken, *(shown or [name]))
        self._violations.append(_Violation(source, name, rule, received, rows, example))

    def raise_violations(self) -> None:
        """Report everything that was found, at once."""
        if self._violations:
            lines = "\n".join(f"- {violation}" for violation in self._violations)
            raise DataError(f"The data contract is broken ({len(self._violations)} violations):\n{lines}")

    def _missing(self, source: Source, name: str, rule: str) -> None:
        shown = [column for column in source.columns if not source.table[column].type().is_binary()]
        self.violate(source, name, rule, "no such column", source.table, shown)


def _id_kind(name: str, first: Source, others: Sequence[Source]) -> str | None:
    """What the ids of all tables are: the first decides, and where it is untyped, a typed table beside it."""
    if name not in first.columns:
        return None
    column = first.table[name]
    told = [source.table[name].type() for source in others if source.typed and name in source.columns]
    if not first.typed and any(dtype.is_string() for dtype in told):
        return "string"
    with reading(first.setting, first.path):
        kind = kind_of(column, first.typed, ("int64", "string"))
    return kind if kind in ("int64", "string") else None


def kind_of(column: ir.Column, typed: bool, kinds: Sequence[str]) -> str:
    """Name the kind of a column: its type's, or of text without a type the first of `kinds` that all values fit."""
    if typed:
        return type_name(column)
    for kind in kinds:
        if kind not in _FITS or _count(column.as_table().filter(~_FITS[kind](column))) == 0:
            return kind
    return "string"


def type_name(column: ir.Column) -> str:
    """Name a column's type; all integers that int64 holds are int64."""
    dtype = column.type()
    if dtype.is_integer() and not isinstance(dtype, dt.UInt64):
        return "int64"
    if isinstance(dtype, dt.Null | dt.Unknown):
        return "null"
    return str(dtype).removeprefix("!")


def is_integer(column: ir.Column) -> ir.BooleanColumn:
    """Which texts are int64 and nothing else; null is."""
    # Engines differ in what they cast ("1.5", " 1"); only a value that comes back the same is one in all of them.
    number = column.try_cast("int64").cast("string")
    return column.isnull() | (number == column).fill_null(False)


def is_number(column: ir.Column) -> ir.BooleanColumn:
    """Which texts are float64 and nothing else; null is."""
    return column.isnull() | column.re_search(_NUMBER)


_FITS = {"int64": is_integer, "float64": is_number}


def _count(table: ir.Table) -> int:
    return int(table.count().to_pyarrow().as_py())


def _example(table: ir.Table, *columns: str) -> str:
    rows = table.select(*columns).limit(1).to_pyarrow().to_pylist() if columns else []
    if not rows:
        return ""
    return repr(rows[0][columns[0]] if len(columns) == 1 else rows[0])
