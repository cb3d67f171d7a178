"""The demo shop keeps the data contract; its tastes are measured in `demo_behaviour_test.py`."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mim_tf.data.demo_catalogue import CATEGORIES
from mim_tf.data.demo_shop import main, make_demo_shop

FILES = ("items.parquet", "impressions.parquet", "truth/items.parquet", "truth/impressions.parquet")
SMALL = {"items": 60, "users": 30, "days": 20}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "shop"
    make_demo_shop(folder, items=200, users=100)
    return folder


def _columns(folder: Path, name: str) -> dict[str, np.ndarray]:
    table = pq.read_table(folder / f"{name}.parquet")
    return {column: table[column].to_numpy() for column in table.column_names}


def test_same_seed_same_bytes_other_seed_other_shop(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        make_demo_shop(tmp_path / name, **SMALL, seed=seed)
    for file in FILES:
        content = (tmp_path / "one" / file).read_bytes()
        assert content == (tmp_path / "again" / file).read_bytes()
        assert content != (tmp_path / "other" / file).read_bytes()


def test_fashions_leave_all_but_what_is_bought_as_it_was(tmp_path: Path) -> None:
    for name, strength in (("timeless", 0.0), ("in_fashion", 1.0)):
        make_demo_shop(tmp_path / name, **SMALL, fashion_strength=strength)
    timeless, in_fashion = (_columns(tmp_path / name, "impressions") for name in ("timeless", "in_fashion"))
    for column in ("user_id", "item_id", "timestamp"):
        np.testing.assert_array_equal(timeless[column], in_fashion[column])
    assert 0.02 < np.mean(timeless["label"] != in_fashion["label"]) < 0.3
    assert pq.read_table(tmp_path / "timeless" / "items.parquet") == pq.read_table(
        tmp_path / "in_fashion" / "items.parquet"
    )


def test_columns_and_types_are_those_of_the_contract(shop: Path) -> None:
    items, log = pq.read_table(shop / "items.parquet"), pq.read_table(shop / "impressions.parquet")
    assert dict(zip(items.schema.names, items.schema.types, strict=True)) == {
        "item_id": pa.int64(),
        "title": pa.string(),
        "category": pa.string(),
        "image": pa.binary(),
        "first_seen": pa.int64(),
    }
    assert dict(zip(log.schema.names, log.schema.types, strict=True)) == dict.fromkeys(
        ("user_id", "item_id", "timestamp", "label"), pa.int64()
    )
    assert all(column.null_count == 0 for table in (items, log) for column in table.columns)
    assert items.num_rows == 200
    assert len(set(items["item_id"].to_pylist())) == 200
    assert set(items["category"].to_pylist()) == set(CATEGORIES)


def test_a_search_ends_in_a_purchase_or_in_a_look_at_what_was_not_bought(shop: Path) -> None:
    searches, log = pq.read_table(shop / "pairs.parquet").to_pylist(), pq.read_table(shop / "impressions.parquet")
    bought = {(row["user_id"], row["item_id"], row["timestamp"]): row["label"] for row in log.to_pylist()}
    labels = [bought[row["user_id"], row["item_id"], row["timestamp"] + 300] for row in searches]
    assert [row["action"] for row in searches] == [("click", "purchase")[label] for label in labels]
    assert 0 < 2 * sum(labels) == len(labels)
    assert [row["timestamp"] for row in searches] == sorted(row["timestamp"] for row in searches)


def test_every_picture_is_a_small_colour_photograph(shop: Path) -> None:
    images = pq.read_table(shop / "items.parquet")["image"].to_pylist()
    for image in images:
        with Image.open(io.BytesIO(image)) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 64))
            picture.load()
    assert len(set(images)) == len(images)


def test_no_item_is_shown_before_it_arrives(shop: Path) -> None:
    items, log = _columns(shop, "items"), _columns(shop, "impressions")
    arrival = items["first_seen"][np.searchsorted(items["item_id"], log["item_id"])]
    assert np.all(log["timestamp"] >= arrival)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"items": 49}, r"`items` must be at least 50\. Received: 49\."),
        ({"users": 0}, r"`users` must be at least 10\. Received: 0\."),
        ({"days": -1}, r"`days` must be at least 10\. Received: -1\."),
        ({"seed": -1}, r"`seed` must not be negative\. Received: -1\."),
        ({"content_strength": -0.1}, r"`content_strength` must be between 0 and 5\.0\. Received: -0\.1\."),
        ({"id_strength": float("nan")}, r"`id_strength` must be between 0 and 5\.0\. Received: nan\."),
        ({"fashion_strength": 5.1}, r"`fashion_strength` must be between 0 and 5\.0\. Received: 5\.1\."),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_demo_shop(tmp_path / "shop", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="`folder` must be new or empty"):
        make_demo_shop(tmp_path, **SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = pq.write_table

    def fails_on_the_log(table: pa.Table, file: Path) -> None:
        if file.name == "impressions.parquet":
            raise OSError("disk full")
        write(table, file)

    monkeypatch.setattr(pq, "write_table", fails_on_the_log)
    with pytest.raises(OSError, match="disk full"):
        make_demo_shop(tmp_path / "shop", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_command_line_writes_a_shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path / "shop"), "--items", "60", "--users", "30", "--seed", "5"])
    assert all((tmp_path / "shop" / file).is_file() for file in FILES)
    assert "60 items" in capsys.readouterr().out


def test_command_line_reports_a_bad_argument_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "shop"), "--items", "3"])
    assert "error: `items` must be at least 50. Received: 3." in capsys.readouterr().err


def test_imports_no_tensorflow() -> None:
    code = "import sys, mim_tf.data.demo_shop; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
