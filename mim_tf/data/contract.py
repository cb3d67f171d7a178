"""The data contract: which columns the shop's tables must have, checked before anything else is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from mim_tf.data.sources import FILE, ROW, Source, reading
from mim_tf.errors import DataError

_EXAMPLE_LENGTH = 200


@dataclass(frozen=True)
class Checked:
    """One table after the check.

    Attributes:
        source: where it comes from; image bytes are still there only.
        rows: the columns preparation uses, with the types of the contract, and `FILE` and `ROW`.
    """

    source: Source
    rows: ir.Table


@dataclass(frozen=True)
class Contract:
    """The tables after the check.

    Attributes:
        items: `item_id, title, category`, perhaps `neighbours`, and `image_path` where the images are files of their
            own.
        impressions: `user_id, item_id, timestamp, label`, perhaps `action`, if the shop has such a log.
        pairs: `item_id, action`, perhaps `user_id`, `timestamp` and `query_image_path`, if the shop has such a log.
        validation_pairs: likewise.
    """

    items: Checked
    impressions: Checked | None
    pairs: Checked | None
    validation_pairs: Checked | None

    @property
    def tables(self) -> list[Checked]:
        """All tables that there are."""
        tables = (self.items, self.impressions, self.pairs, self.validation_pairs)
        return [table for table in tables if table is not None]


@dataclass(frozen=True)
class Violation:
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


def check_contract(
    items: Source,
    impressions: Source | None,
    pairs: Source | None,
    validation_pairs: Source | None = None,
    *,
    title_columns: Sequence[str] = ("title",),
    neighbours: str | None = None,
) -> Contract:
    """Check all tables against the contract.

    Args:
        items: `item_id` (int64 or string), the title columns, `category`, and `image` (bytes) or `image_path`.
        impressions: `user_id`, `item_id`, `timestamp` (int64, seconds) and `label` (0 or 1), and perhaps `action`.
        pairs: `query_image` (bytes) or `query_image_path`, `item_id`, `action`, and perhaps `user_id` and `timestamp`.
        validation_pairs: as `pairs`.
        title_columns: the columns of items that make its title, joined by ". ", empty ones left out.
        neighbours: the column of items that holds broader categories, as strings or int64.

    Returns:
        The tables as preparation reads them.

    Raises:
        DataError: the tables break the contract; the message lists every violation.
    """
    if not title_columns:
        raise DataError("`data.title` must name at least one column. Received: none.")
    check = _Check()
    _check_items(check, items, title_columns, neighbours)
    searches = [source for source in (pairs, validation_pairs) if source]
    check.ids("item_id", items, [*([impressions] if impressions else []), *searches])
    if impressions:
        check.ids("user_id", impressions, [source for source in searches if "user_id" in source.columns])
        check.column(impressions, "timestamp", "int64")
        check.column(impressions, "label", "int64")
        check.perhaps(impressions, "action", "string")
    for source in searches:
        check.column(source, "action", "string")
        check.image(source, "query_image")
        check.perhaps(source, "timestamp", "int64")
        if not impressions:
            check.perhaps(source, "user_id", "int64", "string")
    check.raise_violations()
    catalogue = check.table(items)
    if neighbours:
        catalogue = catalogue.mutate(neighbours=catalogue[neighbours].cast("string").fill_null("").strip())
    logs = (impressions, pairs, validation_pairs)
    return Contract(
        Checked(items, catalogue.mutate(title=_title(catalogue, title_columns))),
        *(Checked(log, check.table(log)) if log else None for log in logs),
    )


def _check_items(check: _Check, items: Source, title_columns: Sequence[str], neighbours: str | None) -> None:
    for name in title_columns:
        check.column(items, name, "string")
    check.column(items, "category", "string", "int64")
    if neighbours:
        check.column(items, neighbours, "string", "int64")
    check.image(items, "image")


class _Check:
    """Collects the columns that keep the contract, and the violations of those that do not."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, ir.Value]] = {}
        self._violations: list[Violation] = []

    def column(self, source: Source, name: str, *kinds: str, origin: str = "") -> None:
        """Check one column; text of untyped files is read as the first kind that fits all of it."""
        if name not in source.columns:
            self._missing(source, name, "be there")
            return
        column = source.table[name]
        with reading(source.setting, source.path):
            kind = _kind(column, source.typed, kinds)
            if kind in kinds:
                self._keep(source, name, column.cast(kind))
                return
            rule = f"be {' or '.join(kinds)}{origin}"
            broken = source.table.filter(column.notnull() if source.typed else ~_is_integer(column))
            self._violations.append(
                Violation(source, name, rule, _type_name(column), _count(broken), _example(broken, name))
            )

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

    def raise_violations(self) -> None:
        """Report everything that was found, at once."""
        if self._violations:
            lines = "\n".join(f"- {violation}" for violation in self._violations)
            raise DataError(f"The data contract is broken ({len(self._violations)} violations):\n{lines}")

    def _keep(self, source: Source, name: str, column: ir.Value) -> None:
        self._columns.setdefault(source.setting, {})[name] = column

    def _missing(self, source: Source, name: str, rule: str) -> None:
        with reading(source.setting, source.path):
            rows = _count(source.table)
            example = _example(source.table, *(c for c in source.columns if not source.table[c].type().is_binary()))
        self._violations.append(Violation(source, name, rule, "no such column", rows, example))


def _id_kind(name: str, first: Source, others: Sequence[Source]) -> str | None:
    """What the ids of all tables are: the first decides, and where it is untyped, a typed table beside it."""
    if name not in first.columns:
        return None
    column = first.table[name]
    told = [source.table[name].type() for source in others if source.typed and name in source.columns]
    if not first.typed and any(dtype.is_string() for dtype in told):
        return "string"
    with reading(first.setting, first.path):
        kind = _kind(column, first.typed, ("int64", "string"))
    return kind if kind in ("int64", "string") else None


def _kind(column: ir.Column, typed: bool, kinds: Sequence[str]) -> str:
    """Name the kind of a column: its type's, or of text without a type the first of `kinds` that all values fit."""
    if typed or kinds[0] != "int64":
        return _type_name(column)
    if _count(column.as_table().filter(~_is_integer(column))) == 0:
        return "int64"
    return "string"


def _type_name(column: ir.Column) -> str:
    dtype = column.type()
    if dtype.is_integer() and not isinstance(dtype, dt.UInt64):
        return "int64"
    if isinstance(dtype, dt.Null | dt.Unknown):
        return "null"
    return str(dtype).removeprefix("!")


def _is_integer(column: ir.Column) -> ir.BooleanColumn:
    # Engines differ in what they cast ("1.5", " 1"); only a value that comes back the same is one in all of them.
    number = column.try_cast("int64").cast("string")
    return column.isnull() | (number == column).fill_null(False)


def _title(items: ir.Table, columns: Sequence[str]) -> ir.Value:
    title: ir.Value = ibis.literal("")
    for name in columns:
        part = items[name].fill_null("").strip()
        joined = ibis.ifelse(title == "", part, title + ibis.literal(". ") + part)
        title = ibis.ifelse(part == "", title, joined)
    return title


def _count(table: ir.Table) -> int:
    return int(table.count().to_pyarrow().as_py())


def _example(table: ir.Table, *columns: str) -> str:
    rows = table.select(*columns).limit(1).to_pyarrow().to_pylist() if columns else []
    if not rows:
        return ""
    return repr(rows[0][columns[0]] if len(columns) == 1 else rows[0])
