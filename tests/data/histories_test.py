"""Histories against a brute force over plain rows."""

from collections.abc import Callable
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data.histories import with_histories

COLUMNS = {
    "__row": "int64",
    "user_id": "int64",
    "item_id": "int64",
    "category": "string",
    "timestamp": "int64",
    "label": "int64",
}


Tabled = Callable[[pd.DataFrame], Any]


def computed(impressions: Any, length: int) -> dict[int, list[tuple[Any, ...]]]:
    table = with_histories(impressions, length).to_pyarrow().to_pylist()
    fields = ("timestamp", "item_id", "category")
    return {row["__row"]: [tuple(b[f] for f in fields) for b in row["history"] or []] for row in table}


def brute_force(frame: pd.DataFrame, length: int) -> dict[int, list[tuple[Any, ...]]]:
    expected = {}
    for row in frame.itertuples(index=False):
        past = frame[(frame.user_id == row.user_id) & (frame.label == 1) & (frame.timestamp < row.timestamp)]
        behaviours = sorted(zip(past.timestamp, past.item_id, past.category, strict=True))
        expected[row[0]] = behaviours[-length:]
    return expected


@pytest.mark.parametrize("length", [1, 4, 1000])
@pytest.mark.parametrize("ids", ["int64", "string"])
def test_histories_equal_a_brute_force(tabled: Tabled, length: int, ids: str) -> None:
    random = np.random.default_rng(length)
    rows = 400
    items = random.integers(0, 30, rows)
    frame = pd.DataFrame(
        {
            "__row": np.arange(rows),
            "user_id": random.integers(0, 8, rows),
            "item_id": items,
            "category": [f"c{item % 4}" for item in items],
            "timestamp": random.integers(-5, 40, rows),  # many rows share a second, some lie before 1970
            "label": random.integers(0, 2, rows),
        }
    )
    if ids == "string":
        frame = frame.astype({"user_id": str, "item_id": str})
    expected = brute_force(frame, length)
    assert computed(tabled(frame), length) == expected
    lengths = {len(behaviours) for behaviours in expected.values()}
    assert lengths >= {0, min(length, 20)}, "the case is too small to show anything"


def test_a_purchase_of_the_same_second_is_no_history(tabled: Tabled) -> None:
    frame = pd.DataFrame(
        [(0, 1, 9, "x", 100, 1), (1, 1, 8, "x", 100, 1), (2, 1, 7, "x", 101, 0), (3, 2, 7, "x", 101, 0)],
        columns=list(COLUMNS),
    )
    assert computed(tabled(frame), 5) == {0: [], 1: [], 2: [(100, 8, "x"), (100, 9, "x")], 3: []}


def test_behaviours_stay_in_order_when_several_threads_collect_them(tabled: Tabled) -> None:
    random = np.random.default_rng(0)
    rows = 300_000
    frame = pd.DataFrame({name: random.integers(0, 5000, rows) for name in ("user_id", "item_id", "timestamp")})
    frame = frame.assign(__row=np.arange(rows), category="x", label=1)
    histories = with_histories(tabled(frame), 50).select("history").to_pyarrow()["history"].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(histories), 0).to_numpy()
    history = np.repeat(np.arange(rows), lengths)
    position = pc.struct_field(histories.flatten(), "__position").to_numpy()
    assert lengths.max() == 50
    assert (np.diff(position)[np.diff(history) == 0] == 1).all()


def test_the_expression_compiles_for_spark() -> None:
    table = ibis.table(COLUMNS | {"item_colour": "string"}, name="impressions")
    sql = PySparkCompiler().to_sqlglot(with_histories(table, 50, ["colour"])).sql("spark")
    assert "COLLECT_LIST(STRUCT(" in sql
    assert "`item_colour` AS `colour`" in sql
    assert "RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING" in sql
