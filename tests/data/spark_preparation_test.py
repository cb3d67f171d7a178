"""Preparation on Spark, on a cluster of two executor processes: the same bytes as in this process, whatever happens."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import md5
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from mim_tf.data.column_checks import is_integer, is_number
from mim_tf.data.feature_checks import seconds_of_text
from mim_tf.data.hashing import hashed
from mim_tf.data.preparation import REJECTS_FILE, prepare
from mim_tf.data.sources import FILE, ROW, open_source
from mim_tf.data.workspace import Batches, Workspace, open_workspace
from mim_tf.engine import Engine
from mim_tf.errors import DataError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, and there is no `java` on the PATH"),
]


PARTS = "spark.sql.shuffle.partitions"


@pytest.fixture(scope="module")
def spark() -> Iterator[Engine]:
    """A cluster of two executors with a core and a gigabyte each. Starting one takes ten seconds."""
    import pyspark
    from pyspark import cloudpickle

    # Executors do not see this file: what they run of it travels as code.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield Engine("spark", {"spark.master": "local-cluster[2,1,1024]", PARTS: "2"})
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession()
    if session is not None:
        work = Path(pyspark.__file__).parent / "work" / session.sparkContext.applicationId  # the executors' logs
        session.stop()
        shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def on_spark(spark: Engine, tmp_path: Path) -> Iterator[Workspace]:
    with open_workspace(tmp_path, spark) as workspace:
        yield workspace


def contents(folder: Path) -> dict[str, bytes | list[dict[str, Any]]]:
    """All files of a folder; the reject file is compared by its rows, as Parquet does not have one way to say them."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: pq.read_table(path).to_pylist() if name == REJECTS_FILE else path.read_bytes()
        for name, path in files.items()
    }


def equal_on_both(settings: dict[str, Any], spark: Engine) -> dict[str, float]:
    """Prepare with both engines and compare all that they leave; gives the figures."""
    folder = settings["folder"]
    local = prepare(**settings | {"folder": folder / "local"})
    other = prepare(**settings | {"folder": folder / "spark"}, engine=spark)
    expected, found = contents(folder / "local"), contents(folder / "spark")
    assert list(found) == list(expected)
    assert [name for name in found if found[name] != expected[name]] == []
    timed = ("seconds", "rows_per_second")
    assert {name: other[name] for name in other if name not in timed} == {
        name: local[name] for name in local if name not in timed
    }
    return local


def test_bad_rows_and_a_user_with_most_events_give_the_same_bytes(shop: Any, spark: Engine) -> None:
    shop.impressions.loc[shop.impressions.index % 3 != 0, "user_id"] = 2
    shop.impressions = shop.impressions.astype({"user_id": "Int64"})
    shop.impressions.loc[[3, 100, 101], "item_id"] = 7
    shop.impressions.loc[150, "user_id"] = pd.NA
    shop.items.loc[2, "title"] = " \t\u000b"
    shop.items.loc[5, "image"] = b"no image"
    shop.items = pd.concat([shop.items, shop.items[:2]], ignore_index=True)
    shop.impressions["query_embedding"] = [None if row % 5 == 0 else [row / 7, -row] for row in range(200)]
    log = shop.folder / "log"
    log.mkdir()
    shop.impressions[120:].to_parquet(log / "b [1].parquet", index=False)
    shop.impressions[:120].to_parquet(log / "a %20 é.parquet", index=False)
    settings = shop.settings(
        impressions=log,
        train_from=30 * 86_400,
        session_seconds=2 * 86_400,
        pairs_rule="same_category",
        pairs_share=0.8,
        history_length=5,
    )
    metrics = equal_on_both(settings, spark)
    assert metrics["impressions_before"] > 30
    assert metrics["pairs"] > 3
    assert metrics["rejected_duplicate_item_id"] == 2
    assert (
        metrics["rejected_empty_title"]
        == metrics["rejected_undecodable_image"]
        == metrics["rejected_missing_user_id"]
        == 1
    )
    assert metrics["rejected_unknown_item"] > 3


def test_text_files_string_ids_features_and_search_logs_give_the_same_bytes(shop: Any, spark: Engine) -> None:
    random = np.random.default_rng(3)
    images = shop.folder / "images"
    images.mkdir()
    for item in shop.items.itertuples():
        (images / f"{item.item_id}.png").write_bytes(item.image)
    shop.items = shop.items.assign(
        item_id=[f"ärticle {number}" for number in shop.items.item_id],
        image_path=[f"images/{number}.png" for number in shop.items.item_id],
        price=[0.1, -0.0, 1e-7, *random.lognormal(size=9)],
        colour=random.choice(["", "red", "Ünïcode", "a:b"], 12),
        since="1970-02-01T12:00:00+02:00",
        kind=random.choice(["top", "low"], 12),
    ).drop(columns="image")
    shop.impressions = shop.impressions.assign(
        item_id=[f"ärticle {number}" for number in shop.impressions.item_id],
        user_id=[f"user {number}" for number in shop.impressions.user_id],
        hour=random.integers(0, 24, 200),
        action=random.choice(["click", "purchase"], 200),
    )
    searches = pd.DataFrame(
        {
            "query_image_path": [f"images/{100 + number % 13}.png" for number in range(40)],  # 112 there is none
            "item_id": random.choice(shop.items.item_id, 40),
            "user_id": random.choice(shop.impressions.user_id, 40),
            "action": random.choice(["click", "purchase"], 40),
            "timestamp": random.integers(0, 100, 40) * 86_400,
        }
    )
    settings = shop.settings(
        items=shop.write("items.csv", shop.items),
        impressions=shop.write("impressions.jsonl", shop.impressions),
        pairs=shop.write("searches.parquet", searches),
        title_columns=("title", "colour"),
        neighbours="kind",
        item_features=("price", "colour"),
        impression_features=("hour",),
        first_seen="since",
    )
    metrics = equal_on_both(settings, spark)
    assert metrics["pairs"] > 0
    assert metrics["rejected_unreadable_image_file"] > 0


@dataclass(frozen=True)
class DyingWriter:
    """Writes as the class in whose place it is put, but the first task that comes so far kills its executor."""

    folder: str
    files: tuple[str, ...]

    def __call__(self, batches: Batches) -> Batches:
        from mim_tf.data.spark_workspace import _ShardWriter

        return _ShardWriter(self.folder, self.files)(self._dying(batches))

    def _dying(self, batches: Batches) -> Batches:
        for batch in batches:
            yield batch.slice(0, 1)
            try:
                os.close(os.open(f"{self.folder}/../died", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                yield batch.slice(1)
                continue
            # This process was forked by Spark's daemon, which the executor started.
            executor = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
            assert "java" in Path(f"/proc/{executor}/comm").read_text()
            os.kill(executor, signal.SIGKILL)
            signal.pause()


def test_an_executor_that_is_killed_while_it_writes_changes_nothing(
    shop: Any, spark: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mim_tf.data.spark_workspace._ShardWriter", DyingWriter)
    settings = shop.settings()
    equal_on_both(settings, spark)
    assert (settings["folder"] / "died").exists()


TEXTS = {
    # text: int64, float64 and moment as the contract reads them; None where it is none
    "7": (7, 7.0, None),
    "-0": (None, -0.0, None),  # an integer comes back as it was written
    " 7": (None, None, None),
    "5\n": (None, None, None),
    "007": (None, None, None),
    "9223372036854775808": (None, None, None),
    "1.5": (None, 1.5, None),
    "1d": (None, None, None),
    "1970-01-02": (None, None, 86_400),
    "1970-01-01T02:00:01+02:00": (None, None, 1),
    "1970-01-01 00:01": (None, None, 60),
    "1970-01-01 00:01Z": (None, None, 60),
    "1970-01-01T00:02-00:01": (None, None, 180),
    "1970-01-01T00:00:00.9999999": (None, None, 0),
    "1969-12-31T23:59:59.5": (None, None, -1),
    "1970-01-01T24:00:00": (None, None, None),
    "1970-01-01T12:00:00+19:00": (None, None, None),
    "1970-02-30": (None, None, None),
}


def test_texts_are_read_alike(on_spark: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": list(TEXTS)}), path)
    with open_workspace(tmp_path) as local:
        for workspace in (local, on_spark):
            rows = workspace.read("parquet", LocalFileSystem(), [str(path)])
            read = rows.order_by(ROW).select(
                integer=ibis.ifelse(is_integer(rows.text), rows.text.try_cast("int64"), ibis.null("int64")),
                number=ibis.ifelse(is_number(rows.text), rows.text.try_cast("float64"), ibis.null("float64")),
                seconds=seconds_of_text(rows.text),
            )
            found = [tuple(row.values()) for batch in workspace.stream(read, 5) for row in batch.to_pylist()]
            assert dict(zip(TEXTS, found, strict=True)) == TEXTS


def test_white_space_and_digests_are_alike(on_spark: Workspace, tmp_path: Path) -> None:
    texts = ["a", " \t\n\r\x0b\x0ca \t", "\xa0a\u2003", "", "\\d'\"ä😀"]
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": texts, "number": [-5, 0, 1, 2**63 - 1, -(2**63)]}), path)
    rows = on_spark.read("parquet", LocalFileSystem(), [str(path)])
    read = rows.order_by(ROW).select(stripped=rows.text.strip(), digest=hashed("ü", rows.text, rows.number))
    found = [row for batch in on_spark.stream(read, 5) for row in batch.to_pylist()]
    assert [row["stripped"] for row in found] == ["a", "a", "\xa0a\u2003", "", "\\d'\"ä😀"]
    keys = zip(texts, [-5, 0, 1, 2**63 - 1, -(2**63)], strict=True)
    assert [row["digest"] for row in found] == [md5(f"ü:{text}:{number}".encode()).hexdigest() for text, number in keys]


def test_rows_are_numbered_over_files_of_any_name_and_columns(on_spark: Workspace, tmp_path: Path) -> None:
    log = tmp_path / "day=1" / "ä 50%25 #+"
    log.mkdir(parents=True)
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"]}), log / "1#.parquet")
    big = pa.table({"a": pa.array(range(70_000), pa.int64())})
    pq.write_table(big, log / "2.parquet", row_group_size=10_000)
    pq.write_table(pa.table({"b": ["z"], "since": pa.array([-1], pa.timestamp("ns"))}), log / "3.parquet")
    with open_workspace(tmp_path) as local:
        tables = [open_source(workspace, "data.items", str(log)).table for workspace in (local, on_spark)]
        columns = ["a", "b", "since", FILE, ROW]
        expected, found = (
            pa.Table.from_batches(list(workspace.stream(table.select(columns).order_by(ROW), 1000))).to_pylist()
            for workspace, table in zip((local, on_spark), tables, strict=True)
        )
    since = [row.pop("since") for row in found], [row.pop("since") for row in expected]
    assert found == expected
    assert since[0][-1] == datetime(1969, 12, 31, 23, 59, 59, 999_999)  # of -1 ns the microsecond it lies in
    assert [row[ROW] for row in found] == list(range(70_003))
    assert [row["a"] for row in found] == [1, 2, *range(70_000), None]


def test_times_of_96_bits_are_read_alike(on_spark: Workspace, tmp_path: Path) -> None:
    """Spark's own, which are nanoseconds to others."""
    moments = pa.table({"since": pa.array([0, 1_500_000, None], pa.timestamp("us"))})
    pq.write_table(moments, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    with open_workspace(tmp_path) as local:
        expected, found = (
            open_source(workspace, "data.items", str(tmp_path / "a.parquet"))
            .table.select("since", ROW)
            .order_by(ROW)
            .to_pyarrow()["since"]
            .to_pylist()
            for workspace in (local, on_spark)
        )
    assert [value and value.replace(tzinfo=None) for value in found] == [
        value and value.replace(tzinfo=None) for value in expected
    ]
    assert found[1].microsecond == 500_000


def test_a_stream_is_in_order_and_batches_are_mapped_by_the_executors(on_spark: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "numbers.parquet"
    numbers = np.random.default_rng(0).permutation(50_000)
    pq.write_table(pa.table({"number": numbers}), path, row_group_size=5_000)
    rows = on_spark.read("parquet", LocalFileSystem(), [str(path)])
    batches = list(on_spark.stream(rows.select("number").order_by("number"), 7_000))
    assert max(batch.num_rows for batch in batches) <= 7_000
    assert np.array_equal(np.concatenate([batch.column(0) for batch in batches]), np.arange(50_000))
    schema, told = pa.schema([("half", pa.int64()), ("process", pa.int64()), ("task", pa.int64())]), []
    mapped = on_spark.map_batches(
        rows.select("number"), halves, schema, at_once=1_000, progress=lambda *done_of: told.append(done_of)
    )
    found = pa.Table.from_batches(list(on_spark.stream(mapped, 50_000)))
    assert sorted(found["half"].to_pylist()) == sorted((numbers // 2).tolist())
    assert os.getpid() not in found["process"].to_pylist()
    assert set(found["task"].to_pylist()) == {0, 1}  # of one file, but there are two cores
    assert told[-1] == (50_000, 50_000)


def halves(batches: Batches) -> Batches:
    from pyspark import TaskContext

    for batch in batches:
        half = np.asarray(batch.column(0)) // 2
        task = TaskContext.get().partitionId()
        yield pa.record_batch(
            {"half": half, "process": np.full(len(half), os.getpid()), "task": np.full(len(half), task)}
        )


def test_rows_of_what_was_opened_or_kept_are_known_and_else_counted(on_spark: Workspace, tmp_path: Path) -> None:
    for number in range(2):
        pq.write_table(pa.table({"number": range(30)}), tmp_path / f"{number}.parquet")
    for files in (["0.parquet"], ["0.parquet", "1.parquet"]):
        rows = on_spark.read("parquet", LocalFileSystem(), [str(tmp_path / name) for name in files])
        few = rows.filter(rows.number < 7)
        assert on_spark.count(rows) == 30 * len(files)
        assert on_spark.count(few) == on_spark.count(on_spark.keep(few)) == 7 * len(files)


def test_shuffles_have_the_parts_that_an_option_names(on_spark: Workspace, tmp_path: Path) -> None:
    assert parts_for(30, on_spark, tmp_path) == "2"


def test_shuffles_have_a_part_for_so_many_rows(
    spark: Engine, on_spark: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mim_tf.data.spark_workspace._ROWS_PER_PART", 10)
    monkeypatch.setattr("mim_tf.data.spark_workspace._MOST_PARTS", 7)
    settings = session().conf
    settings.unset(PARTS)
    with open_workspace(tmp_path, Engine("spark", {})) as workspace:
        assert parts_for(30, workspace, tmp_path) == "3"
        assert parts_for(20, workspace, tmp_path) == "5"
        assert parts_for(90, workspace, tmp_path) == "7"
    assert PARTS not in settings.getAll
    settings.set(PARTS, spark.options[PARTS])


def parts_for(rows: int, workspace: Workspace, folder: Path) -> str | None:
    """How many parts a shuffle has once a file with so many more rows was opened."""
    file = folder / f"{rows}.parquet"
    pq.write_table(pa.table({"number": range(rows)}), file)
    workspace.read("parquet", LocalFileSystem(), [str(file)])
    return session().conf.get(PARTS)


def session() -> Any:
    from pyspark.sql import SparkSession

    return SparkSession.getActiveSession()


def test_a_damaged_text_file_is_named(shop: Any, spark: Engine) -> None:
    lines = shop.write("impressions.jsonl", shop.impressions)
    lines.write_text(lines.read_text()[:-20])
    with pytest.raises(DataError, match=r"`data\.impressions` must be readable .*Received: .*impressions\.jsonl: "):
        prepare(**shop.settings(impressions=lines), engine=spark)


@pytest.mark.parametrize("damage", ["no Parquet", "data"])
def test_a_file_that_is_damaged_is_named(shop: Any, spark: Engine, damage: str) -> None:
    settings = shop.settings()
    log = Path(settings["impressions"])
    whole = log.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    log.write_bytes(
        b"no Parquet at all"
        if damage == "no Parquet"
        else b"PAR1" + b"\xff" * (len(whole) - footer - 4) + whole[-footer:]
    )
    with pytest.raises(
        DataError,
        match=r"`data\.impressions` must be readable from first row to last\. Received: .*impressions\.parquet: ",
    ) as caught:
        prepare(**settings, engine=spark)
    assert "\n" not in str(caught.value)
    assert list(settings["folder"].glob(".scratch*")) == []
