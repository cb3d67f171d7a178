"""Table 1: how much data there is, counted in the shop's own files, whether or not they can be trained on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ibis
import ibis.expr.types as ir

from mim_tf.data.sources import open_source
from mim_tf.data.workspace import Workspace, open_workspace
from mim_tf.errors import DataError
from mim_tf.experiment import paper
from mim_tf.experiment.sheet import Sheet, Value
from mim_tf.settings import DataSettings

ALL = "ALL"
MOST_CATEGORIES = 7
"""As many categories have a column, as in the paper: those with most data."""

_QUERIES = ("query_id", "query_text", "query_image_path")


def data_statistics(data: DataSettings) -> Sheet:
    """Impressions, queries, users and items, in all and by category.

    Where there is no impression log, the search log's rows are counted.

    Raises:
        DataError: a file cannot be read, or lacks the columns that are counted.
    """
    with tempfile.TemporaryDirectory() as folder, open_workspace(Path(folder)) as workspace:
        log, notes = _log(workspace, data)
        counted = _counted(workspace.keep(_with_categories(workspace, data, log)))
    categories = [name for name in counted if name != ALL][:MOST_CATEGORIES]
    columns = (ALL, *categories)
    names = ("#Data", "#Query", "#Users", "#Items")
    rows = [(name, {column: counted[column].get(name) for column in columns}) for name in names]
    shown = [(name, values) for name, values in rows if any(value is not None for value in values.values())]
    notes += tuple(f"{name}: the log has no such column." for name, _ in rows if name not in dict(shown))
    return Sheet("table1", "Table 1: the data", columns, shown, notes, paper.DATA)


def _log(workspace: Workspace, data: DataSettings) -> tuple[ir.Table, tuple[str, ...]]:
    setting = "impressions" if data.impressions is not None else "pairs"
    path = data.impressions or data.pairs
    if path is None:
        raise DataError("`data.impressions` and `data.pairs` are not set: there is no log to count.")
    table = open_source(workspace, f"data.{setting}", path).table
    if "item_id" not in table.columns:
        raise DataError(
            f"`data.{setting}` ({path}) must have a column `item_id`. Received: {', '.join(table.columns)}."
        )
    return table, (f"#Data counts the rows of `data.{setting}`, also those that preparation rejects.",)


def _with_categories(workspace: Workspace, data: DataSettings, log: ir.Table) -> ir.Table:
    """The log's rows with the categories of their items, as text; items that the catalogue lacks have none."""
    items = open_source(workspace, "data.items", data.items).table
    for name in ("item_id", "category"):
        if name not in items.columns:
            raise DataError(f"`data.items` ({data.items}) must have a column `{name}`.")
    known = items.select(known_item=items.item_id.cast("string"), category=items.category.cast("string"))
    query = next((name for name in _QUERIES if name in log.columns), None)
    columns = {"item": log.item_id.cast("string")}
    columns |= {"user": log.user_id.cast("string")} if "user_id" in log.columns else {}
    columns |= {"query": log[query].cast("string")} if query else {}
    rows = log.select(**columns)
    first = known.distinct(on="known_item", keep="first")
    return rows.left_join(first, rows.item == first.known_item).drop("known_item")


def _counted(rows: ir.Table) -> dict[str, dict[str, Value]]:
    """The counts by category, the largest first, and of `ALL`."""
    known = rows.filter(rows.category.notnull())
    [everything] = rows.aggregate(**_numbers(rows)).to_pyarrow().to_pylist()
    by_category = known.group_by("category").aggregate(**_numbers(known))
    table = by_category.order_by([ibis.desc("#Data"), "category"]).to_pyarrow().to_pylist()
    return {ALL: everything} | {row.pop("category"): row for row in table}


def _numbers(rows: ir.Table) -> dict[str, ir.IntegerScalar]:
    distinct = {"#Query": "query", "#Users": "user", "#Items": "item"}
    counts = {name: rows[column].nunique() for name, column in distinct.items() if column in rows.columns}
    return {"#Data": rows.count(), **counts}
