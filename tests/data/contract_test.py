"""The contract: each violation with file, column, rule, rows, example and the columns there - all of them at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mim_tf.data.contract import Contract, check_contract
from mim_tf.data.duckdb_workspace import DuckDBWorkspace
from mim_tf.data.sources import open_source
from mim_tf.errors import DataError

ITEMS = pd.DataFrame({"item_id": [1, 2], "title": ["a", "b"], "category": ["x", "y"], "image": [b"1", b"2"]})
IMPRESSIONS = pd.DataFrame({"user_id": [5, 5], "item_id": [1, 2], "timestamp": [10, 20], "label": [0, 1]})
PAIRS = pd.DataFrame({"query_image": [b"1"], "item_id": [1], "action": ["click"]})


class Checker:
    """Writes tables and checks them."""

    def __init__(self, folder: Path) -> None:
        self.workspace = DuckDBWorkspace(folder)
        self.folder = folder

    def source(self, setting: str, frame: pd.DataFrame, ending: str) -> Any:
        path = self.folder / f"{setting}.{ending}"
        if ending == "parquet":
            frame.to_parquet(path, index=False)
        elif ending == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
        return open_source(self.workspace, f"data.{setting}", str(path))

    def __call__(
        self,
        items: pd.DataFrame = ITEMS,
        impressions: pd.DataFrame | None = None,
        pairs: pd.DataFrame | None = None,
        titles: tuple[str, ...] = ("title",),
        endings: tuple[str, str, str] = ("parquet", "parquet", "parquet"),
        neighbours: str | None = None,
        validation_pairs: pd.DataFrame | None = None,
    ) -> Contract:
        return check_contract(
            self.source("items", items, endings[0]),
            None if impressions is None else self.source("impressions", impressions, endings[1]),
            None if pairs is None else self.source("pairs", pairs, endings[2]),
            None if validation_pairs is None else self.source("validation_pairs", validation_pairs, "parquet"),
            title_columns=titles,
            neighbours=neighbours,
        )


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Checker]:
    checker = Checker(tmp_path)
    with checker.workspace:
        yield checker


def values(table: Any, column: str) -> list[Any]:
    return table.order_by("__row").to_pyarrow()[column].to_pylist()


def test_good_tables_pass(check: Checker) -> None:
    contract = check(ITEMS, IMPRESSIONS.astype({"label": "int8", "item_id": "int32"}), PAIRS)
    assert values(contract.items.rows, "title") == ["a", "b"]
    assert contract.impressions is not None
    assert contract.pairs is not None
    assert str(contract.impressions.rows.label.type()) == "int64"
    assert str(contract.impressions.rows.item_id.type()) == "int64"
    assert "image" not in contract.items.rows.columns


def test_every_violation_is_reported_at_once(check: Checker) -> None:
    items = ITEMS.drop(columns="category").assign(title=[1.5, 2.5])
    impressions = IMPRESSIONS.drop(columns="user_id").assign(
        timestamp=pd.to_datetime(["2020-01-01", "2020-01-02"]).as_unit("us")
    )
    with pytest.raises(DataError, match=r"contract is broken \(4 violations\)") as caught:
        check(items, impressions)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 4
    assert lines[0].startswith("- `data.items` (")
    assert "items.parquet): column `title` must be string." in lines[0]
    assert "Received: float64 in 2 of 2 rows, e.g. 1.5. Columns there: item_id, title, image." in lines[0]
    assert "column `category` must be there. Received: no such column in 2 of 2 rows, e.g. {'item_id': 1" in lines[1]
    assert lines[2].startswith("- `data.impressions` (")
    assert "column `user_id` must be there." in lines[2]
    assert "column `timestamp` must be int64. Received: timestamp" in lines[3]
    assert "datetime.datetime(2020, 1, 1, 0, 0)" in lines[3]


@pytest.mark.parametrize("column", ["item_id", "title", "category", "image"])
def test_a_missing_column_of_items(check: Checker, column: str) -> None:
    with pytest.raises(DataError, match=rf"items\.parquet\): column `{column}` must be there"):
        check(ITEMS.drop(columns=column))


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp", "label"])
def test_a_missing_column_of_impressions(check: Checker, column: str) -> None:
    with pytest.raises(DataError, match=rf"impressions\.parquet\): column `{column}` must be there"):
        check(impressions=IMPRESSIONS.drop(columns=column))


@pytest.mark.parametrize("column", ["query_image", "item_id", "action"])
def test_a_missing_column_of_pairs(check: Checker, column: str) -> None:
    with pytest.raises(DataError, match=rf"pairs\.parquet\): column `{column}` must be there"):
        check(pairs=PAIRS.drop(columns=column))


@pytest.mark.parametrize(
    ("table", "column", "value", "rule"),
    [
        ("items", "item_id", 1.5, "int64 or string"),
        ("items", "category", 1.5, "string or int64"),
        ("items", "image", "text", "binary"),
        ("impressions", "user_id", 1.5, "int64 or string"),
        ("impressions", "timestamp", "text", "int64"),
        ("impressions", "label", 1.0, "int64"),
        ("pairs", "query_image", 7, "binary"),
        ("pairs", "action", 7, "string"),
        ("pairs", "timestamp", 1.5, "int64"),
    ],
)
def test_a_wrong_type(check: Checker, table: str, column: str, value: Any, rule: str) -> None:
    tables = {"items": ITEMS, "impressions": IMPRESSIONS, "pairs": PAIRS}
    tables[table] = tables[table].assign(**{column: value})
    with pytest.raises(DataError, match=rf"`data\.{table}` .*column `{column}` must be {rule}\. Received: ") as caught:
        check(**tables)
    assert f"e.g. {value!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "column", "value", "rule"),
    [
        ("impressions", "action", 7, "string"),
        ("pairs", "user_id", 1.5, "int64 or string"),
        ("validation_pairs", "action", 7, "string"),
        ("validation_pairs", "timestamp", 1.5, "int64"),
    ],
)
def test_a_column_that_may_be_left_out_has_a_type_too(
    check: Checker, table: str, column: str, value: Any, rule: str
) -> None:
    tables = {"impressions": IMPRESSIONS, "pairs": PAIRS, "validation_pairs": PAIRS}
    # Users are compared with those of the impressions where there are any.
    tables = {name: frame for name, frame in tables.items() if column != "user_id" or name != "impressions"}
    check(**tables)
    tables[table] = tables[table].assign(**{column: value})
    with pytest.raises(DataError, match=rf"`data\.{table}` .*column `{column}` must be {rule}\. Received: "):
        check(**tables)


def test_user_ids_must_have_one_type(check: Checker) -> None:
    with pytest.raises(
        DataError, match=r"`user_id` must be int64 as in `data\.impressions`\. Received: string in 1 of 1"
    ):
        check(impressions=IMPRESSIONS, pairs=PAIRS.assign(user_id="5"))
    contract = check(impressions=IMPRESSIONS, pairs=PAIRS.assign(user_id=[5]).astype({"user_id": "int32"}))
    assert contract.pairs is not None
    assert str(contract.pairs.rows.user_id.type()) == "int64"


def test_broader_categories_are_text(check: Checker) -> None:
    items = ITEMS.assign(aisle=["3 ", None], rank=[3, 4], weight=[0.5, 1.5])
    assert values(check(items, neighbours="aisle").items.rows, "neighbours") == ["3", ""]
    assert values(check(items, neighbours="rank").items.rows, "neighbours") == ["3", "4"]
    assert "neighbours" not in check(items).items.rows.columns
    with pytest.raises(
        DataError, match=r"items\.parquet\): column `weight` must be string or int64\. Received: float64"
    ):
        check(items, neighbours="weight")
    with pytest.raises(DataError, match=r"items\.parquet\): column `shelf` must be there\. Received: no such column"):
        check(items, neighbours="shelf")


def test_item_ids_must_have_one_type(check: Checker) -> None:
    strings = IMPRESSIONS.assign(item_id=["1", "2"])
    with pytest.raises(DataError, match=r"`item_id` must be int64 as in `data\.items`\. Received: string in 2 of 2"):
        check(impressions=strings)
    with pytest.raises(DataError, match=r"pairs\.parquet\): column `item_id` must be string as in `data\.items`"):
        check(ITEMS.assign(item_id=["1", "2"]), strings, PAIRS)


def test_untyped_text_is_read_as_what_all_of_it_fits(check: Checker) -> None:
    items = ITEMS.drop(columns="image").assign(image_path="a.png", title=["1", "2"], category=["7", "8"])
    contract = check(items, IMPRESSIONS, endings=("csv", "csv", "csv"))
    assert values(contract.items.rows, "item_id") == [1, 2]
    assert values(contract.items.rows, "title") == ["1", "2"]
    assert contract.impressions is not None
    assert values(contract.impressions.rows, "timestamp") == [10, 20]


def test_untyped_ids_that_are_not_all_numbers_stay_text(check: Checker) -> None:
    items = ITEMS.drop(columns="image").assign(image_path="a.png", item_id=["007", "8"])
    contract = check(items, IMPRESSIONS.assign(item_id=["8", "007"]), endings=("csv", "csv", "csv"))
    assert values(contract.items.rows, "item_id") == ["007", "8"]
    assert contract.impressions is not None
    assert values(contract.impressions.rows, "item_id") == ["8", "007"]


def test_untyped_item_ids_follow_a_typed_table_beside_them(check: Checker) -> None:
    items = ITEMS.drop(columns="image").assign(image_path="a.png")
    contract = check(items, IMPRESSIONS.assign(item_id=["1", "2"]), endings=("csv", "jsonl", "csv"))
    assert values(contract.items.rows, "item_id") == ["1", "2"]


@pytest.mark.parametrize("text", ["soon", "1.5", "1e3", " 1", "99999999999999999999"])
def test_untyped_text_that_is_no_integer_is_counted_and_shown(check: Checker, text: str) -> None:
    impressions = IMPRESSIONS.astype(object).assign(timestamp=[10, text])
    with pytest.raises(DataError, match=r"`timestamp` must be int64\. Received: string in 1 of 2 rows") as caught:
        check(impressions=impressions, endings=("parquet", "csv", "csv"))
    assert f"e.g. {text!r}" in str(caught.value)


def test_csv_cannot_hold_image_bytes(check: Checker) -> None:
    with pytest.raises(DataError, match="column `image_path` must be there, as CSV cannot hold the bytes of `image`"):
        check(ITEMS, endings=("csv", "csv", "csv"))


def test_the_title_joins_columns_and_skips_empty_ones(check: Checker) -> None:
    items = pd.DataFrame(
        {
            "item_id": [1, 2, 3, 4],
            "name": [" Bag ", None, "Hat", ""],
            "brand": ["Acme", "Acme", " ", None],
            "note": ["red", "blue", "old", None],
            "category": "x",
            "image": b"1",
        }
    )
    contract = check(items, titles=("name", "brand", "note"))
    assert values(contract.items.rows, "title") == ["Bag. Acme. red", "Acme. blue", "Hat. old", ""]


def test_a_missing_title_column_is_named(check: Checker) -> None:
    with pytest.raises(DataError, match="column `brand` must be there"):
        check(titles=("title", "brand"))
    with pytest.raises(DataError, match=r"`data\.title` must name at least one column"):
        check(titles=())


def test_a_column_of_nothing_but_nulls_has_no_type(check: Checker) -> None:
    with pytest.raises(DataError, match=r"column `user_id` must be int64 or string\. Received: null in 0 of 2 rows\. "):
        check(impressions=IMPRESSIONS.assign(user_id=None))


def test_a_long_example_is_cut(check: Checker) -> None:
    with pytest.raises(DataError, match=r"e\.g\. 'long long .*\.\.\. Columns there") as caught:
        check(impressions=IMPRESSIONS.assign(label="long " * 1000))
    assert len(str(caught.value)) < 600
