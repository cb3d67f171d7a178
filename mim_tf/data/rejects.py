"""Rows that are left out: each is written down with the reason, and counted."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from mim_tf.data.sources import FILE, ROW, Source, reading
from mim_tf.data.workspace import Workspace
from mim_tf.errors import DataError

REASON = "__reason"
"""The column that says why a row is left out; null where it is kept."""
_ROWS_AT_ONCE = 65_536
_SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), ("key", pa.string()), ("reason", pa.string())])


class Reason(StrEnum):
    """Why a row is left out, as the reject file says it."""

    MISSING_ITEM_ID = "missing item_id"
    RESERVED_ITEM_ID = "reserved item_id"
    DUPLICATE_ITEM_ID = "duplicate item_id"
    EMPTY_TITLE = "empty title"
    MISSING_CATEGORY = "missing category"
    UNDECODABLE_IMAGE = "undecodable image"
    UNREADABLE_IMAGE_FILE = "unreadable image file"
    IMAGE_PATH_OUTSIDE = "image path outside the folder"
    UNKNOWN_ITEM = "unknown item"
    BAD_LABEL = "label not 0 or 1"
    MISSING_USER = "missing user_id"
    MISSING_TIMESTAMP = "missing timestamp"
    UNDECODABLE_QUERY_IMAGE = "undecodable query image"
    UNKNOWN_ACTION = "unknown action"


Case = tuple[ir.Value, Reason]
"""A condition, and why rows for which it holds are left out."""


class Rejects:
    """The reject file: `file`, `row` (from 0, in that file), `key` (the item id as text) and `reason`."""

    def __init__(self, path: Path, workspace: Workspace) -> None:
        self._workspace = workspace
        self._writer = pq.ParquetWriter(path, _SCHEMA)
        self._counts: Counter[tuple[str, str]] = Counter()

    def part(self, source: Source, judged: ir.Table) -> ir.Table:
        """Write down the rows of a source that have a `REASON`, and give the others, of which there must be some.

        Args:
            source: the source.
            judged: as `take` wants them, computed already.

        Raises:
            DataError: no row is left; the message counts the rejected ones by reason.
        """
        rows = judged.group_by(REASON).aggregate(rows=judged.count()).to_pyarrow().to_pylist()
        if any(row[REASON] for row in rows):
            self.take(source, judged)
        self.check_some_left(source, sum(row["rows"] for row in rows if row[REASON] is None))
        return judged.filter(judged[REASON].isnull()).drop(REASON)

    def take(self, source: Source, judged: ir.Table) -> None:
        """Write down the rows of a source that have a `REASON`, in their order.

        Args:
            source: the source.
            judged: with `FILE`, `ROW`, `REASON` and `item_id`.
        """
        all_rows = source.table
        first_rows = all_rows.group_by(FILE).aggregate(first=all_rows[ROW].min())
        bad = judged.filter(judged[REASON].notnull()).join(first_rows, FILE)
        columns = {"file": bad[FILE], "row": bad[ROW] - bad.first, "key": bad.item_id.cast("string")}
        rows = bad.order_by(ROW).select(**columns, reason=bad[REASON])
        with reading(source.setting, source.path):  # once more, for its files
            for batch in self._workspace.stream(rows, _ROWS_AT_ONCE):
                self._writer.write_table(pa.Table.from_batches([batch]).cast(_SCHEMA))
                for counted in batch.column("reason").value_counts().to_pylist():
                    self._counts[source.setting, counted["values"]] += counted["counts"]

    def count(self, setting: str) -> int:
        """How many rows of one source were left out."""
        return sum(count for (of, _), count in self._counts.items() if of == setting)

    def check_all_there(self, source: Source, left: int) -> None:
        """Refuse a source of which a row was neither kept nor rejected.

        Raises:
            DataError: it has other rows than when it was opened, or the engine skips some.
        """
        rows, rejected = self._workspace.count(source.table), self.count(source.setting)
        if left + rejected != rows:
            raise DataError(
                f"`{source.setting}` must stay as it is while it is read, and be read whole. "
                f"Received: {source.path}, of whose {rows} rows {left} were kept and {rejected} rejected."
            )

    def check_some_left(self, source: Source, left: int) -> None:
        """Refuse a source of which nothing is left.

        Raises:
            DataError: `left` is 0; the message counts the rejected rows by reason.
        """
        if left:
            return
        reasons = (f"{reason}: {count}" for (of, reason), count in sorted(self._counts.items()) if of == source.setting)
        raise DataError(
            f"`{source.setting}` must hold at least one row that can be used. "
            f"Received: {source.path}, where nothing is left ({', '.join(reasons) or 'it has no rows'})."
        )

    def metrics(self) -> dict[str, float]:
        """Count per reason over all sources, as `rejected_<reason>`."""
        totals: Counter[str] = Counter()
        for (_, reason), count in self._counts.items():
            totals[f"rejected_{reason.replace(' ', '_')}"] += count
        return {name: float(count) for name, count in sorted(totals.items())}

    def __enter__(self) -> Self:
        """Enter; nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the file."""
        self._writer.close()


def first_reason(*cases: Case) -> ir.Value:
    """Name the first reason whose condition holds, null where none does.

    A condition that is null counts as false.
    """
    branches = ((condition, ibis.literal(str(reason))) for condition, reason in cases)
    return ibis.cases(*branches, else_=ibis.null("string"))
