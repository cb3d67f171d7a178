"""The catalogue's order: ranges of categories and of their neighbours, against plain Python."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data.catalogue_writer import CATALOGUE_FILE, in_catalogue_order
from tests.data.conftest import write_catalogue_of

Tabled = Callable[[pd.DataFrame], Any]


def digest(seed: int, item: int) -> str:
    return hashlib.md5(f"{seed}:{item}".encode(), usedforsecurity=False).hexdigest()


def ordered(tabled: Tabled, items: pd.DataFrame, seed: int = 3) -> pd.DataFrame:
    rows = in_catalogue_order(tabled(items), seed).order_by("item_row").to_pyarrow()
    found = pd.DataFrame(rows.to_pylist())
    assert list(found.item_row) == list(range(len(items)))
    return found


def test_items_lie_by_category_and_by_the_md5_of_their_ids(tabled: Tabled) -> None:
    items = pd.DataFrame({"item_id": range(60), "category": [("b", "a", "é", "Z")[item % 4] for item in range(60)]})
    found = ordered(tabled, items)
    expected = sorted(zip(items.category, items.item_id, strict=True), key=lambda row: (row[0], digest(3, row[1])))
    assert list(zip(found.category, found.item_id, strict=True)) == expected
    assert list(ordered(tabled, items, seed=4).item_id) != list(found.item_id)


def test_a_category_goes_where_most_of_its_items_go(tabled: Tabled) -> None:
    of = {"belt": "mmw", "bag": "w", "coat": "wm", "dress": "www", "tie": "mmm", "sock": ["", "m", ""]}
    rows = [(category, broad) for category, broads in of.items() for broad in broads]
    found = ordered(tabled, pd.DataFrame(rows, columns=["category", "neighbours"]).assign(item_id=range(len(rows))))
    runs = [key for key, _ in itertools.groupby(zip(found.neighbours, found.category, strict=True))]
    assert runs == [("", "sock"), ("m", "belt"), ("m", "coat"), ("m", "tie"), ("w", "bag"), ("w", "dress")]
    assert Counter(found.category) == {category: len(broads) for category, broads in of.items()}


def test_the_order_compiles_for_spark() -> None:
    items = ibis.table({"item_id": "int64", "category": "string", "neighbours": "string"}, name="items")
    assert "ROW_NUMBER()" in PySparkCompiler().to_sqlglot(in_catalogue_order(items, 0)).sql("spark")


def columns(folder: Path) -> dict[str, np.ndarray]:
    table = pa.ipc.open_file(pa.memory_map(str(folder / CATALOGUE_FILE))).read_all()
    assert all(column.num_chunks == 1 for column in table.columns), "not one piece of memory"
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def ranges(found: dict[str, np.ndarray], name: str) -> list[tuple[int, int]]:
    return list(zip(found[f"{name}_first"].tolist(), found[f"{name}_last"].tolist(), strict=True))


def test_without_broader_categories_the_neighbours_are_those_beside_it(tmp_path: Path) -> None:
    found = columns(write_catalogue_of(tmp_path, ["a", "a", "b", "c", "c", "c", "d"]))
    assert ranges(found, "category") == [(0, 1), (0, 1), (2, 2), (3, 5), (3, 5), (3, 5), (6, 6)]
    assert ranges(found, "neighbours") == [(0, 2), (0, 2), (0, 5), (2, 6), (2, 6), (2, 6), (3, 6)]


def test_with_broader_categories_the_neighbours_are_those_in_it(tmp_path: Path) -> None:
    # The categories need not be in the order of their names here.
    found = columns(write_catalogue_of(tmp_path, ["b", "d", "d", "a", "c"], ["m", "m", "m", "w", "w"]))
    assert ranges(found, "category") == [(0, 0), (1, 2), (1, 2), (3, 3), (4, 4)]
    assert ranges(found, "neighbours") == [(0, 2), (0, 2), (0, 2), (3, 4), (3, 4)]


def test_one_category_is_its_own_neighbour(tmp_path: Path) -> None:
    found = columns(write_catalogue_of(tmp_path, ["a", "a"]))
    assert ranges(found, "category") == ranges(found, "neighbours") == [(0, 1), (0, 1)]


def test_places_are_those_of_the_examples_in_their_files(tmp_path: Path) -> None:
    folder = write_catalogue_of(tmp_path, ["a"] * 5 + ["b"] * 8, held_out=[1, 4, 7, 9])
    found = columns(folder)
    assert list(found["item_id"]) == list(range(13))
    for row in range(13):
        content = (folder / found["shard"][row]).read_bytes()
        offset, length = int(found["offset"][row]), int(found["length"][row])
        assert ("held_out" in found["shard"][row]) == (row in (1, 4, 7, 9))
        assert int.from_bytes(content[offset - 12 : offset - 4], "little") == length
        assert f"title {row}".encode() in content[offset : offset + length]
