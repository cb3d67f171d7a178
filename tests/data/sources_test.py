"""Opening tables: formats, folders, globs, URIs, and what is said when nothing is there."""

from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mim_tf.data.sources import FILE, ROW, open_source, reading
from mim_tf.errors import DataError

FRAME = pd.DataFrame({"item_id": [7, 8, 9], "title": ["2020-01-01", "a, b", 'say "c"']})


def rows(source: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in source.table.select("item_id", "title", ROW).to_pyarrow().to_pylist()]


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.json"])
def test_typed_formats_keep_numbers_and_text(workspace: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.to_json(path, orient="records", lines=True)
    source = open_source(workspace, "data.items", str(path))
    assert source.typed
    assert source.columns == ("item_id", "title")
    assert source.folder == str(tmp_path)
    assert rows(source) == [(7, "2020-01-01", 0), (8, "a, b", 1), (9, 'say "c"', 2)]


def test_csv_stays_text(workspace: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('item_id,title\n007,2020-01-01\n8,"a, b"\n')
    source = open_source(workspace, "data.items", str(tmp_path / "t.csv"))
    assert not source.typed
    assert rows(source) == [("007", "2020-01-01", 0), ("8", "a, b", 1)]


def test_json_keeps_what_looks_like_a_uuid_or_a_time_as_text(workspace: Any, tmp_path: Path) -> None:
    uuid = "6f1e0a5c-7a1b-4c5d-8e9f-0123456789ab"
    (tmp_path / "t.jsonl").write_text(f'{{"item_id": "{uuid}", "title": "2020-01-01 10:00:00"}}\n')
    source = open_source(workspace, "data.items", str(tmp_path / "t.jsonl"))
    assert rows(source) == [(uuid, "2020-01-01 10:00:00", 0)]


@pytest.mark.parametrize("path", ["", "/", "/*.parquet", "/part-[01].parquet"])
def test_folders_and_globs_are_read_in_the_order_of_their_names(workspace: Any, tmp_path: Path, path: str) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    FRAME[:1].to_parquet(folder / "part-1.parquet")
    FRAME[1:].to_parquet(folder / "part-0.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "photo.jpg").touch()
    source = open_source(workspace, "data.items", f"{folder}{path}")
    assert rows(source) == [(8, "a, b", 0), (9, 'say "c"', 1), (7, "2020-01-01", 2)]
    files = source.table.select(FILE).to_pyarrow()[FILE].to_pylist()
    assert [Path(file).name for file in files] == ["part-0.parquet", "part-0.parquet", "part-1.parquet"]
    assert source.folder == str(folder)


def test_rows_are_numbered_in_file_order_however_many_threads_read(workspace: Any, tmp_path: Path) -> None:
    table = pa.table({"item_id": list(range(300_000))})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10_000)
    source = open_source(workspace, "data.items", str(tmp_path / "t.parquet"))
    assert source.table.filter(source.table.item_id != source.table[ROW]).count().to_pyarrow().as_py() == 0


def test_an_fsspec_uri_is_read_through_its_file_system(workspace: Any) -> None:
    memory = fsspec.filesystem("memory")
    with memory.open("/shop/items.csv", "w") as file:
        file.write("item_id,title\n7,seven\n")
    source = open_source(workspace, "data.items", "memory://shop/items.csv")
    assert rows(source) == [("7", "seven", 0)]
    assert source.folder == "/shop"


@pytest.mark.parametrize("path", ["nowhere.parquet", "nowhere", "*.csv"])
def test_a_missing_file_is_named(workspace: Any, tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"`data\.items` must be a file, folder or glob of .*\.parquet") as caught:
        open_source(workspace, "data.items", str(tmp_path / path))
    assert str(tmp_path / path) in str(caught.value)


def test_an_unknown_format_is_refused(workspace: Any, tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(DataError, match=r"`data\.pairs` must be files of one format out of \.csv, \.json, \.jsonl"):
        open_source(workspace, "data.pairs", str(tmp_path / "t.xlsx"))


def test_mixed_formats_are_refused(workspace: Any, tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    FRAME.to_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match="files of one format"):
        open_source(workspace, "data.items", str(tmp_path))


def test_an_unknown_protocol_is_refused(workspace: Any) -> None:
    with pytest.raises(DataError, match=r"`data\.items` must be a path or a URI .* nosuch://a/b"):
        open_source(workspace, "data.items", "nosuch://a/b")


def test_a_file_that_is_no_parquet_is_named(workspace: Any, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"not parquet at all, not even close")
    with pytest.raises(
        DataError, match=r"`data\.items` must be readable from first row to last. Received: .*t\.parquet"
    ):
        open_source(workspace, "data.items", str(tmp_path / "t.parquet"))


def test_a_csv_that_breaks_off_in_the_middle_is_named(workspace: Any, tmp_path: Path) -> None:
    lines = [f"{number},title" for number in range(50_000)]
    lines[45_000] = "45000,title,one,too,many"
    (tmp_path / "t.csv").write_text("item_id,title\n" + "\n".join(lines))
    source = open_source(workspace, "data.items", str(tmp_path / "t.csv"))
    with pytest.raises(DataError, match=r"`data\.items` must be readable .*t\.csv"), reading("data.items", source.path):
        source.table.count().to_pyarrow()
