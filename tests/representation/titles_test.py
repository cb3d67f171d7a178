"""Titles out of catalogues as shops have them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mim_tf.errors import DataError
from mim_tf.representation.titles import titles_of

TITLES = {"007": "2020-01-01", "b": 'A "red" cup, big', "c": "two\nlines", "d": ""}


def written(folder: Path, name: str, titles: dict[str, str]) -> str:
    """A catalogue with another column, in the format of the name."""
    path, rows = folder / name, list(titles.items())
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"x": [1] * len(rows), "title": [*titles.values()], "item_id": [*titles]}), path)
    elif name.endswith(".csv"):
        quoted = [f'"{item_id}",1,"{title.replace(chr(34), chr(34) * 2)}"\n' for item_id, title in rows]
        path.write_text("item_id,x,title\n" + "".join(quoted))
    else:
        path.write_text("".join(json.dumps({"x": 1, "title": t, "item_id": i}) + "\n" for i, t in rows))
    return str(path)


@pytest.mark.parametrize("name", ["items.parquet", "items.csv", "items.jsonl", "items.json"])
def test_every_format(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, TITLES)
    assert titles_of(path, ["007", "c", "d", "nobody"], pa.string()) == {
        "007": "2020-01-01",
        "c": "two\nlines",
        "d": "",
    }
    assert titles_of(path, ["b"], pa.string()) == {"b": 'A "red" cup, big'}


@pytest.mark.parametrize("name", ["items.parquet", "items.csv", "items.jsonl"])
def test_integer_ids(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):  # dictionaries and small integers are ids and titles too
        ids, titles = pa.array([7, 8], pa.int32()), pa.array(["x", None]).dictionary_encode()
        pq.write_table(pa.table({"item_id": ids, "title": titles}), path)
    else:
        path.write_text("item_id,title\n7,x\n" if name.endswith(".csv") else '{"item_id": 7, "title": "x"}\n')
    assert titles_of(str(path), [7, 8], pa.int64()) == {7: "x"}


def test_folders_globs_and_uris(tmp_path: Path) -> None:
    written(tmp_path, "1.parquet", {"a": "first", "b": "B"})
    written(tmp_path, "2.csv", {"a": "second", "c": "C"})
    (tmp_path / "_SUCCESS").touch()
    expected = {"a": "first", "b": "B", "c": "C"}
    for path in (str(tmp_path), f"file://{tmp_path}"):
        assert titles_of(path, ["a", "b", "c"], pa.string()) == expected
    assert titles_of(f"{tmp_path}/*.csv", ["a", "b", "c"], pa.string()) == {"a": "second", "c": "C"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.parquet", None, r"none\.parquet: there is no such file"),
        ("items.txt", "item_id,title\n1,x\n", r"items\.txt: there is no such file"),
        ("items.csv", "item_id,name\n1,x\n", r"items\.csv: .*title"),
        ("items.csv", "item_id,title\nabc,x\n", r"items\.csv: .*abc"),
        ("items.jsonl", '{"item_id": "abc", "title": "x"}\n', r"items\.jsonl: "),
        ("items.jsonl", '{"item_id": 1, "name": "x"}\n', r"there is no column title\."),
        ("items.parquet", "no Parquet", r"items\.parquet: "),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(
        DataError, match=r"(?s)Titles must be in .* with the columns item_id \(int64\) and title\. .*" + said
    ):
        titles_of(str(tmp_path / name), [1], pa.int64())


def test_a_parquet_file_without_titles(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": [1]}), tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"there is no column title\."):
        titles_of(str(tmp_path / "items.parquet"), [1], pa.int64())
