"""Records of impressions against a brute force over plain rows: every history, every behaviour about once."""

import itertools
from collections.abc import Callable
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data.histories import RECORD, ROWS_OF_RECORD, behaviours_of, records_of, rows_of
from mim_tf.data.sessions import IMPRESSIONS_PER_RECORD, SPLIT, in_order

COLUMNS = {
    "__row": "int64",
    "user_id": "int64",
    "item_id": "int64",
    "category": "string",
    "timestamp": "int64",
    "label": "int64",
    SPLIT: "string",
}
FIELDS = ["__row"]

Tabled = Callable[[pd.DataFrame], Any]


Rows = list[dict[str, Any]]


def rows_in_order(impressions: Any, length: int) -> Any:
    ordered = in_order(impressions, session_seconds=10)
    ordered = ordered.filter(ordered[SPLIT].notnull())
    records = records_of(ordered, length)
    records = records.mutate(__place=ibis.row_number().over(ibis.window(order_by=RECORD)))
    return rows_of(records, ordered, FIELDS, behaviours_of(impressions)).order_by(ROWS_OF_RECORD)


def read(impressions: Any, length: int) -> list[tuple[Rows, Rows]]:
    """The impressions and the behaviours of each record."""
    rows = rows_in_order(impressions, length).to_pyarrow().to_pylist()
    records = []
    for _, of_record in itertools.groupby(rows, lambda row: row["__place"]):
        kinds = {kind: list(part) for kind, part in itertools.groupby(of_record, lambda row: row["__is_behaviour"])}
        records.append((kinds[0], kinds.get(1, [])))
    return records


def histories_in(records: list[tuple[Rows, Rows]], length: int) -> dict[int, list[tuple[Any, ...]]]:
    """The history of each impression, as readers take it."""
    fields = ("history_timestamp", "history_item_id", "history_category")
    histories = {}
    for impressions, behaviours in records:
        past = [tuple(behaviour[field] for field in fields) for behaviour in behaviours]
        for shown in impressions:
            end = shown["history_end"]
            histories[shown["__row"]] = past[max(0, end - length) : end]
    return histories


def brute_force(frame: pd.DataFrame, length: int) -> dict[int, list[tuple[Any, ...]]]:
    expected = {}
    for row in frame[frame[SPLIT].notna()].to_dict("records"):
        past = frame[(frame.user_id == row["user_id"]) & (frame.label == 1) & (frame.timestamp < row["timestamp"])]
        behaviours = sorted(zip(past.timestamp, past.item_id, past.category, strict=True))
        expected[row["__row"]] = behaviours[-length:]
    return expected


def random_frame(seed: int, rows: int, users: int) -> pd.DataFrame:
    """Many rows share a second, some lie before 1970; the first seconds are only history, the last ones validate."""
    random = np.random.default_rng(seed)
    items, seconds = random.integers(0, 30, rows), random.integers(-5, 40, rows)
    frame = {
        "__row": np.arange(rows),
        "user_id": random.integers(0, users, rows),
        "item_id": items,
        "category": [f"c{item % 4}" for item in items],
        "timestamp": seconds,
        "label": random.integers(0, 2, rows),
        SPLIT: [None if second < 2 else "train" if second < 30 else "validation" for second in seconds],
    }
    return pd.DataFrame(frame)


@pytest.mark.parametrize("length", [1, 4, 1000])
@pytest.mark.parametrize("ids", ["int64", "string"])
def test_histories_equal_a_brute_force(tabled: Tabled, length: int, ids: str) -> None:
    frame = random_frame(length, 1500, 3)  # records of full length, and what is left
    if ids == "string":
        frame = frame.astype({"user_id": str, "item_id": str})
    expected = brute_force(frame, length)
    records = read(tabled(frame), length)
    assert histories_in(records, length) == expected
    assert max(map(len, expected.values())) >= min(length, 100), "the case is too small to show anything"
    assert max(len(impressions) for impressions, _ in records) == IMPRESSIONS_PER_RECORD


def test_a_record_holds_the_impressions_of_one_user_and_split_in_order(tabled: Tabled) -> None:
    frame = random_frame(0, 900, 3)
    seen = []
    for impressions, behaviours in read(tabled(frame), 4):
        rows = frame.iloc[[shown["__row"] for shown in impressions]]
        assert set(rows.user_id) == {row["user_id"] for row in (*impressions, *behaviours)}
        assert rows[SPLIT].nunique() == 1
        ordered = rows.sort_values(["timestamp", "item_id", "__row"])
        assert list(ordered["__row"]) == list(rows["__row"])
        seen += list(rows["__row"])
    assert sorted(seen) == list(frame[frame[SPLIT].notna()]["__row"])


def test_behaviours_are_stored_once_but_for_what_records_look_back_on(tabled: Tabled) -> None:
    """One user with 1,280 purchases, seconds apart: ten records of 128, which hold 127 new ones and the 50 before."""
    rows = 1280
    frame = pd.DataFrame({"__row": np.arange(rows), "user_id": 7, "item_id": 1, "category": "x"})
    frame = frame.assign(timestamp=np.arange(rows), label=1, **{SPLIT: "train"})
    lengths = [len(behaviours) for _, behaviours in read(tabled(frame), 50)]
    # Before the last impression of the first record lie 127; before that of record k lie 128k + 127, and the record
    # begins 50 before its first impression, before which 128k lie.
    assert lengths == [127] + [127 + 50] * 9


def test_a_purchase_of_the_same_second_is_no_history(tabled: Tabled) -> None:
    frame = pd.DataFrame(
        [(0, 1, 9, "x", 100, 1), (1, 1, 8, "x", 100, 1), (2, 1, 7, "x", 101, 0), (3, 2, 7, "x", 101, 0)],
        columns=list(COLUMNS)[:-1],
    ).assign(**{SPLIT: "train"})
    records = read(tabled(frame), 5)
    assert histories_in(records, 5) == {0: [], 1: [], 2: [(100, 8, "x"), (100, 9, "x")], 3: []}


def test_rows_stay_in_order_when_several_threads_collect_them(tabled: Tabled) -> None:
    random = np.random.default_rng(0)
    rows = 300_000
    frame = pd.DataFrame({name: random.integers(0, 5000, rows) for name in ("user_id", "item_id", "timestamp")})
    frame = frame.assign(__row=np.arange(rows), category="x", label=1, **{SPLIT: "train"})
    table = rows_in_order(tabled(frame), 50).to_pyarrow()
    place, kind, position = (table[name].to_numpy() for name in ROWS_OF_RECORD)
    begins = (np.diff(place) != 0) | (np.diff(kind) != 0)
    assert (np.diff(position)[~begins] == 1).all()
    assert len(table) > rows, "there are behaviours too"


def test_the_expressions_compile_for_spark() -> None:
    table = ibis.table(COLUMNS | {"item_colour": "string"}, name="impressions")
    ordered = in_order(table, 1800)
    records = records_of(ordered, 50).mutate(__place=ibis.literal(0, "int64"))
    rows = rows_of(records, ordered, FIELDS, behaviours_of(table, ["colour"]))
    sql = PySparkCompiler().to_sqlglot(rows).sql("spark")
    assert "`item_colour` AS `history_colour`" in sql
    assert "RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING" in sql
