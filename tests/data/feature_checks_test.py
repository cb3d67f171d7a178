"""What the contract asks of features: which columns may be some, and what is said about those that may not."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mim_tf.data.contract import Contract, check_contract
from mim_tf.data.duckdb_workspace import DuckDBWorkspace
from mim_tf.data.feature_columns import FeatureColumns
from mim_tf.data.item_features import FEATURE, FIRST_SEEN
from mim_tf.data.sources import open_source
from mim_tf.errors import DataError

ITEMS = pd.DataFrame({"item_id": [1, 2, 3], "title": "a", "category": "x", "image_path": "a.png"})
LOG = pd.DataFrame({"user_id": [5, 6, 7], "item_id": [1, 2, 3], "timestamp": [10, 20, 30], "label": [0, 1, 0]})
NOON = 1_588_334_400  # 2020-05-01 12:00:00 UTC
MIDNIGHT = 1_588_291_200


class Checker:
    """Writes the catalogue and the log with one more column each and checks them."""

    def __init__(self, folder: Path) -> None:
        self.workspace = DuckDBWorkspace(folder)
        self.folder = folder

    def source(self, setting: str, frame: pd.DataFrame | pa.Table, ending: str) -> Any:
        path = self.folder / f"{setting}.{ending}"
        if isinstance(frame, pa.Table):
            pq.write_table(frame, path)
        elif ending == "parquet":
            frame.to_parquet(path, index=False)
        elif ending == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
        return open_source(self.workspace, f"data.{setting}", str(path))

    def __call__(
        self,
        items: pd.DataFrame | pa.Table = ITEMS,
        log: pd.DataFrame | pa.Table = LOG,
        ending: str = "parquet",
        features: FeatureColumns | None = None,
    ) -> Contract:
        sources = (self.source("items", items, ending), self.source("impressions", log, ending))
        return check_contract(*sources, None, features=features or FeatureColumns())

    def feature(self, values: Any, ending: str = "parquet") -> tuple[str, list[Any]]:
        """A feature's type and values."""
        contract = self(with_column(ITEMS, "size", values), ending=ending, features=FeatureColumns(items=("size",)))
        return read(contract.items.rows, FEATURE + "size")

    def first_seen(self, values: Any, ending: str = "parquet") -> list[Any]:
        """When the items first appeared."""
        contract = self(with_column(ITEMS, "since", values), ending=ending, features=FeatureColumns(first_seen="since"))
        return read(contract.items.rows, FIRST_SEEN)[1]

    def queries(self, values: Any, ending: str = "parquet") -> tuple[int | None, list[Any]]:
        """The length of the queries' embeddings, and these."""
        contract = self(log=with_column(LOG, "query_embedding", values), ending=ending)
        assert contract.impressions is not None
        return contract.query_dim, read(contract.impressions.rows, "query_embedding")[1]


def with_column(frame: pd.DataFrame, name: str, values: Any) -> pd.DataFrame | pa.Table:
    if isinstance(values, pa.Array):
        return pa.Table.from_pandas(frame, preserve_index=False).append_column(name, values)
    return frame.assign(**{name: values})


def read(table: Any, name: str) -> tuple[str, list[Any]]:
    column = table.order_by("__row").select(name).to_pyarrow()[name]
    return str(column.type), column.to_pylist()


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Checker]:
    checker = Checker(tmp_path)
    with checker.workspace:
        yield checker


@pytest.mark.parametrize(
    ("values", "kind", "read_as"),
    [
        (pa.array([1, -2, 2**53 + 1], pa.int64()), "int64", [1, -2, 2**53 + 1]),
        (pa.array([1, 2, 3], pa.int8()), "int64", [1, 2, 3]),
        (pa.array([True, False, True]), "int64", [1, 0, 1]),
        (pa.array([0.1, 2.0, -3.5], pa.float64()), "float", [float(np.float32(0.1)), 2.0, -3.5]),
        (pa.array(np.array([0.5, 2, -3], np.float16)), "float", [0.5, 2.0, -3.0]),
        (pa.array([Decimal("1.25"), Decimal("2.50"), Decimal("0.00")]), "float", [1.25, 2.5, 0.0]),
        (pa.array(["rot", None, " é "]), "string", ["rot", "", " é "]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "string", ["a", "b", "a"]),
    ],
)
def test_types_of_parquet(check: Checker, values: pa.Array, kind: str, read_as: list[Any]) -> None:
    assert check.feature(values) == (kind, read_as)


@pytest.mark.parametrize(
    ("values", "kind", "read_as"),
    [
        (["1", "-2", str(2**53 + 1)], "int64", [1, -2, 2**53 + 1]),
        (["1", "2.5", "-1e-3"], "float", [1.0, 2.5, float(np.float32(-0.001))]),
        ([".5", "0.", "0"], "float", [0.5, 0.0, 0.0]),
        (["1", "2", "x"], "string", ["1", "2", "x"]),
        (["007", "8", "9.5"], "string", ["007", "8", "9.5"]),
        (["12345678901234567890", "1", "2"], "string", ["12345678901234567890", "1", "2"]),
        (["rot", None, "blau"], "string", ["rot", "", "blau"]),
    ],
)
def test_untyped_text_is_read_as_the_first_kind_that_fits(
    check: Checker, values: list[Any], kind: str, read_as: list[Any]
) -> None:
    assert check.feature(values, "csv") == (kind, read_as)


def test_integers_of_both_signs_in_json_stay_integers(check: Checker) -> None:
    assert check.feature([2**53 + 1, -5, 0], "jsonl") == ("int64", [2**53 + 1, -5, 0])


@pytest.mark.parametrize(
    ("values", "ending", "rows", "example"),
    [
        (pa.array([1, None, 3]), "parquet", 1, "None"),
        (pa.array([1.5, float("nan"), None]), "parquet", 2, "nan"),
        (pa.array([1.5, float("nan"), 2.0]), "parquet", 1, "nan"),
        (pa.array([1.5, float("inf"), 2.0]), "parquet", 1, "inf"),
        (pa.array([1.5, -1e39, 2.0]), "parquet", 1, "-1e+39"),
        ([1.5, None, None], "csv", 2, "None"),
        (["1", "2.5", "-inf"], "csv", 1, "'-inf'"),
        ([1, None, 3], "jsonl", 1, "None"),
    ],
)
def test_numbers_must_be_there_and_finite(check: Checker, values: Any, ending: str, rows: int, example: str) -> None:
    rule = rf"column `size` must hold a finite number in every row .*put a number of your choice .* in {rows} of 3 rows"
    with pytest.raises(DataError, match=rule) as caught:
        check.feature(values, ending)
    assert f"'size': {example}}}" in str(caught.value)
    assert "e.g. {'item_id': " in str(caught.value)


@pytest.mark.parametrize(
    ("values", "received"),
    [
        (pa.array([[1], [2], None]), "array<int64> in 2 of 3 rows"),
        (pa.array([date(2020, 5, 1)] * 3), "date in 3"),
        (pa.array([None, None, None]), "null in 0 of 3 rows"),
    ],
)
def test_other_types_are_no_features(check: Checker, values: pa.Array, received: str) -> None:
    with pytest.raises(DataError, match=r"column `size` must be int64, float or string to be a feature") as caught:
        check.feature(values)
    assert f"Received: {received}" in str(caught.value)


def test_a_column_that_is_not_there_is_named(check: Checker) -> None:
    features = FeatureColumns(items=("colour",), impressions=("hour",), first_seen="since")
    with pytest.raises(DataError, match=r"contract is broken \(3 violations\)") as caught:
        check(features=features)
    for source, name in (("items", "colour"), ("items", "since"), ("impressions", "hour")):
        assert f"{source}.parquet): column `{name}` must be there. Received: no such column in 3 of 3" in str(
            caught.value
        )


@pytest.mark.parametrize(
    ("items", "impressions", "received"),
    [
        (("category",), (), "`category` of `data.item_features`, whose field `history_category` there is already"),
        (("item_id",), (), "whose field `history_item_id` there is already"),
        (("id",), (), "whose field `item_id` there is already"),
        (("age",), (), "whose field `item_age` there is already"),
        (("TimeStamp",), (), "whose field `history_TimeStamp` there is already"),
        (("colour", "Colour"), (), "`Colour` of `data.item_features`, whose field `item_Colour` there is already"),
        (("colour",), ("item_colour",), "`item_colour` of `data.impression_features`, whose field"),
        ((), ("label",), "`label` of `data.impression_features`"),
        ((), ("category",), "`category` of `data.impression_features`"),
        ((), ("action",), "`action` of `data.impression_features`"),
        ((), ("query_embedding",), "`query_embedding` of `data.impression_features`"),
        ((), ("item_age",), "`item_age` of `data.impression_features`"),
        ((), ("history",), "`history` of `data.impression_features`"),
        ((), ("hour", "hour"), "whose field `hour` there is already"),
        ((), ("history_clicks",), "`history_clicks` of `data.impression_features`, as such names are reserved"),
        ((), ("__row",), "`__row` of `data.impression_features`, as such names are reserved"),
    ],
)
def test_fields_must_be_of_their_own(items: Sequence[str], impressions: Sequence[str], received: str) -> None:
    with pytest.raises(
        DataError, match=r"must become fields of their own in the records: leave them out, or"
    ) as caught:
        FeatureColumns(tuple(items), tuple(impressions)).check_names()
    assert received in str(caught.value)


def test_every_collision_is_told_at_once() -> None:
    features = FeatureColumns(("id", "colour", "category"), ("label", "hour"))
    with pytest.raises(DataError, match=r"`id` of .*`category` of .*`label` of ") as caught:
        features.check_names()
    assert "colour" not in str(caught.value)
    FeatureColumns(("colour", "brand_id"), ("hour", "user_age")).check_names()


@pytest.mark.parametrize(
    ("values", "ending"),
    [
        (pa.array([MIDNIGHT, None, NOON]), "parquet"),
        (pa.array([datetime(2020, 5, 1), None, datetime(2020, 5, 1, 12, 0, 0, 900_000)]), "parquet"),
        (pa.array([datetime(2020, 5, 1), None, datetime(2020, 5, 1, 12)], pa.timestamp("ns")), "parquet"),
        (pa.array([MIDNIGHT, None, NOON], pa.timestamp("s", tz="Asia/Tokyo")), "parquet"),
        (pa.array(["2020-05-01", None, "2020-05-01T12:00:00"]), "parquet"),
        (pa.array(["2020-05-01T00:00:00Z", "", "2020-05-01 14:00:00.9+02:00"]), "parquet"),
        (["2020-05-01", None, "2020-05-01T12:00"], "csv"),
        ([str(MIDNIGHT), None, str(NOON)], "csv"),
        (["2020-05-01", None, "2020-05-01 12:00:00"], "jsonl"),
    ],
)
def test_first_appearances_are_seconds(check: Checker, values: Any, ending: str) -> None:
    assert check.first_seen(values, ending) == [MIDNIGHT, None, NOON]


def test_first_appearances_may_be_dates(check: Checker) -> None:
    assert check.first_seen(pa.array([date(2020, 5, 1), None, date(1969, 12, 31)])) == [MIDNIGHT, None, -86_400]


@pytest.mark.parametrize("text", ["soon", "2020-13-01", "1.5.2020", "2020-05", "20200501T10", "2020-05-01T25:00:00"])
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_text_that_is_no_date_is_counted_and_shown(check: Checker, text: str, ending: str) -> None:
    rule = r"column `since` must hold dates as 2025-04-07 .* Received: other text in 1 of 3 rows"
    with pytest.raises(DataError, match=rule) as caught:
        check.first_seen(["2020-05-01", text, None], ending)
    assert f"e.g. {text!r}" in str(caught.value)


def test_first_appearances_of_another_type_are_refused(check: Checker) -> None:
    with pytest.raises(DataError, match=r"column `since` must be int64 \(seconds\), date, .* Received: float64 in 3"):
        check.first_seen([1.5, 2.5, 3.5])


@pytest.mark.parametrize(
    ("values", "ending"),
    [
        (pa.array([[0.5, 2.0], None, [-1.0, 0.0]], pa.list_(pa.float64())), "parquet"),
        (pa.array([[0.5, 2.0], None, [-1.0, 0.0]], pa.list_(pa.float32(), 2)), "parquet"),
        ([[0.5, 2.0], None, [-1.0, 0.0]], "jsonl"),
    ],
)
def test_query_embeddings(check: Checker, values: Any, ending: str) -> None:
    assert check.queries(values, ending) == (2, [[0.5, 2.0], [0.0, 0.0], [-1.0, 0.0]])


def test_query_embeddings_of_integers(check: Checker) -> None:
    assert check.queries([[1, 0], [-1, 2], None], "jsonl") == (2, [[1.0, 0.0], [-1.0, 2.0], [0.0, 0.0]])
    assert check().query_dim is None


@pytest.mark.parametrize(
    ("values", "ending", "message"),
    [
        (
            [[1.0, 2.0], [3.0, 4.0], [5.0]],
            "parquet",
            r"lists of one length, 2 as in most rows, .* another length in 1 of 3",
        ),
        (
            [[1.0, 2.0], [], [5.0, 0.0]],
            "parquet",
            r"lists of one length, 2 .* or null where there is no query.* in 1 of 3",
        ),
        ([[1.0], [float("nan")], [float("inf")]], "parquet", r"finite numbers only.* beyond float32 in 2 of 3 rows"),
        ([[1.0, None], [1.0, 2.0], [1e39, 2.0]], "parquet", r"finite numbers only.* beyond float32 in 2 of 3 rows"),
        (
            pa.array([None] * 3, pa.list_(pa.float32())),
            "parquet",
            r"in some row; leave the column out .* null or empty",
        ),
        ([1.5, 2.5, 3.5], "parquet", r"be a list of floats, .* Received: float64 in 3 of 3"),
        ([["a"], ["b"], ["c"]], "parquet", r"be a list of floats, .* Received: array<string> in 3 of 3"),
        (["[1.0]", "[2.0]", None], "csv", r"which Parquet and JSON lines can hold\. Received: string in 2 of 3"),
    ],
)
def test_query_embeddings_that_are_none(check: Checker, values: Any, ending: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"impressions\.{ending}\): column `query_embedding` must .*{message}"):
        check.queries(values, ending)
