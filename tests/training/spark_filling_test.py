"""The stage `represent` by executors of Spark, processes of their own, against the same stage in this process."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from mim_tf.engine import LOCAL, Engine
from mim_tf.errors import DataError, SettingsError, StageError
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from mim_tf.training import represent
from mim_tf.training.stages import run_stage
from mim_tf.workdir import StageFolder
from tests.training.represent_test import metrics_of, prepared, tuned, write_catalogue
from tests.training.toy_items import DIM, Item, picture, toy_encoder, toy_items

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, and there is none on the PATH"),
]

SPARK = Engine(
    "spark",
    {
        "spark.master": "local-cluster[2,1,1024]",
        "spark.task.maxFailures": "2",  # each one costs a worker, and the next one imports TensorFlow anew
        "spark.ui.enabled": "false",
    },
)
ITEMS = 40


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two executors, started by the first test and used by all."""
    yield
    from pyspark.sql import SparkSession

    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()


@pytest.fixture(scope="module")
def encoder() -> ItemEncoder:
    return toy_encoder()


def settings_of(catalogue: Path, **options: Any) -> Settings:
    """Enough files for an executor to be killed between them."""
    return Settings.model_validate(
        {
            "data": {"items": str(catalogue), "shards": 5, "held_out": 0.2},
            "encoders": {"dim": DIM},
            "represent": {"batch_size": 8, "commit_rows": 8, **options},
        }
    )


def with_text_ids(items: Sequence[Item]) -> list[Item]:
    return [item._replace(item_id=f"ärmel {item.item_id}") for item in items]


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalogue(toy_items(ITEMS), tmp_path_factory.mktemp("shop") / "items.parquet")


@pytest.fixture(scope="module")
def tuned_run(tmp_path_factory: pytest.TempPathFactory, catalogue: Path, encoder: ItemEncoder) -> Path:
    """A workdir before `represent`, to be copied."""
    return tuned(tmp_path_factory.mktemp("tuned") / "W", settings_of(catalogue), encoder)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, catalogue: Path, tuned_run: Path) -> Path:
    """The workdir, embedded in this process."""
    workdir = shutil.copytree(tuned_run, tmp_path_factory.mktemp("here") / "W")
    run_stage("represent", settings_of(catalogue), workdir, "")
    return workdir


def store_of(workdir: Path) -> EmbeddingStore:
    return EmbeddingStore(workdir / "represent" / "store.lance")


def assert_same(expected: EmbeddingStore, actual: EmbeddingStore) -> None:
    """The same items in the same rows, with the same labels; embeddings to a rounding of float16, 2^-11 below 1."""
    here, there = expected.read(), actual.read()
    np.testing.assert_array_equal(there.item_ids, here.item_ids)
    np.testing.assert_array_equal(there.rows, here.rows)
    np.testing.assert_allclose(there.embeddings, here.embeddings, atol=2**-10)
    labels = [store.labels_of(here.item_ids) for store in (expected, actual)]
    np.testing.assert_array_equal(labels[1].contents, labels[0].contents)
    np.testing.assert_array_equal(labels[1].event_times, labels[0].event_times)
    assert actual.encoder == expected.encoder


def test_the_store_is_the_same_after_one_commit(here: Path, catalogue: Path, tuned_run: Path, tmp_path: Path) -> None:
    workdir = shutil.copytree(tuned_run, tmp_path / "W")
    run_stage("represent", settings_of(catalogue), workdir, "", engine=SPARK)
    assert_same(store_of(here), store_of(workdir))
    assert len(store_of(workdir).versions) == 2  # the empty store, and its items
    assert not (workdir / "represent" / "embedded").exists()
    expected, metrics = metrics_of(here), metrics_of(workdir)
    assert metrics.keys() == expected.keys()
    for name in ("items", "embedded", "skipped", "dim"):
        assert metrics[name] == expected[name]
    for name in ("cosine_error_float16", "cosine_error_int8"):  # of the same embeddings, but for their last bits
        assert metrics[name] == pytest.approx(expected[name], rel=0.05)


def test_next_week_embeds_what_is_new_or_changed(
    tmp_path: Path, encoder: ItemEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ids that are strings, and relative paths: executors have another current folder."""
    items = with_text_ids(toy_items(20))
    settings = settings_of(write_catalogue(items, tmp_path / "items.parquet"))
    first = tuned(tmp_path / "W", settings, encoder)
    run_stage("represent", settings, first, "")
    changed = [
        items[1]._replace(title="lamp lamp"),
        items[2]._replace(image=picture(999)),
        items[3]._replace(title="x"),
    ]
    newer = {"contents": np.array(["of tomorrow"], object), "event_times": np.array(["2100-01-01"], "datetime64[us]")}
    fingerprint = (first / "represent" / "fingerprint.txt").read_text().strip()
    store_of(first).upsert(np.array([items[3].item_id], object), np.ones([1, DIM]), encoder=fingerprint, **newer)

    grown = write_catalogue([*changed, *with_text_ids(toy_items(24))[4:]], tmp_path / "grown.parquet")
    settings = settings_of(grown, encoder=str(first / "represent" / "item_encoder"), store="store.lance")
    prepared(tmp_path / "here" / "W", settings)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    for name, engine in (("here", LOCAL), ("there", SPARK)):
        shutil.copytree(store_of(first).path, tmp_path / name / "store.lance")
        monkeypatch.chdir(tmp_path / name)
        run_stage("represent", settings, Path("W"), "", engine=engine)
        metrics = metrics_of(tmp_path / name / "W")
        assert (metrics["embedded"], metrics["skipped"], metrics["items"]) == (2 + 4, 17, 24)
    assert_same(*(EmbeddingStore(tmp_path / name / "store.lance") for name in ("here", "there")))


def test_an_interrupted_filling_goes_on_with_the_files_that_are_missing(
    here: Path, catalogue: Path, tuned_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = shutil.copytree(tuned_run, tmp_path / "W")

    def fail(self: EmbeddingStore, *given: Any, **named: Any) -> int:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingStore, "upsert", fail)
        with pytest.raises(OSError, match="the disk is full"):
            run_stage("represent", settings_of(catalogue), workdir, "", engine=SPARK)
    parts = sorted((workdir / "represent" / "embedded").glob("*.parquet"))
    lost = pq.read_metadata(parts[0]).num_rows
    parts[0].unlink()
    run_stage("represent", settings_of(catalogue), workdir, "", engine=SPARK)
    metrics = metrics_of(workdir)
    assert (metrics["embedded"], metrics["skipped"]) == (lost, ITEMS - lost)
    assert_same(store_of(here), store_of(workdir))


def test_a_killed_executor_changes_nothing(here: Path, catalogue: Path, tuned_run: Path, tmp_path: Path) -> None:
    workdir = shutil.copytree(tuned_run, tmp_path / "W")
    parts = workdir / "represent" / "embedded"
    killed: list[int] = []

    def kill_after_the_first_part() -> None:
        while not list(parts.glob("*.parquet")):
            time.sleep(0.01)
        killed.append(executors()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_after_the_first_part, daemon=True)
    killer.start()
    run_stage("represent", settings_of(catalogue), workdir, "", engine=SPARK)
    killer.join(60)
    assert killed
    assert killed[0] not in executors()
    assert_same(store_of(here), store_of(workdir))


def executors() -> list[int]:
    """Process ids of the executors of this process' Spark: children of its Java process."""
    from pyspark import SparkContext

    assert SparkContext._gateway is not None
    java = SparkContext._gateway.proc.pid
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:  # has ended
            continue
        if parent == java and b"CoarseGrainedExecutorBackend" in command:
            found.append(int(folder.name))
    return found


def damage_record(workdir: Path) -> None:
    file = item_files(workdir)[1]
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 1
    file.write_bytes(held)


def damage_image(workdir: Path) -> None:
    """An image that `prepare` would have refused, in a record that is whole."""
    file = item_files(workdir)[1]
    examples = [tf.train.Example.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))]
    image = examples[0].features.feature["image"].bytes_list
    image.value[0] = b"x" * len(image.value[0])
    with tf.io.TFRecordWriter(str(file)) as writer:
        for example in examples:
            writer.write(example.SerializeToString())


def leave_no_encoder(workdir: Path) -> None:
    (workdir / "represent" / "item_encoder_model").mkdir(parents=True)


def item_files(workdir: Path) -> list[Path]:
    return sorted((workdir / "prepare" / "records").rglob("*train*.tfrecord"))


@pytest.mark.parametrize(
    ("damage", "centre", "error", "message"),
    [
        (
            damage_record,
            False,
            DataError,
            r"`.*\.tfrecord` must be an intact TFRecord file\. Received: .*corrupted record",
        ),
        (damage_record, True, DataError, r"`.*records` must hold intact TFRecord files\. Received: .*corrupted record"),
        (damage_image, False, DataError, r"`image` of item 1\d\d must decode\. Received: .*Unknown image file format"),
        (
            leave_no_encoder,
            False,
            StageError,
            r"Spark's job must end\. Received: OSError: SavedModel file does not exist",
        ),
    ],
)
def test_what_an_executor_fails_at_is_told(
    catalogue: Path,
    tuned_run: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    centre: bool,
    error: type[Exception],
    message: str,
) -> None:
    workdir = shutil.copytree(tuned_run, tmp_path / "W")
    damage(workdir)
    with pytest.raises(error, match=message):
        run_stage("represent", settings_of(catalogue, centre=centre), workdir, "", engine=SPARK)
    assert not StageFolder(workdir, "represent").finished


def test_without_java_nothing_is_begun(
    catalogue: Path, tuned_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = shutil.copytree(tuned_run, tmp_path / "W")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(StageError, match="--engine spark needs Java 17 or later"):
        run_stage("represent", settings_of(catalogue), workdir, "", engine=SPARK)
    assert not (workdir / "represent" / "settings.yaml").exists()  # nothing holds on to them


def test_files_that_executors_do_not_see_are_refused(catalogue: Path, tuned_run: Path, tmp_path: Path) -> None:
    elsewhere = {"records": "s3://bucket/records", "cache": str(tmp_path / "cache")}
    settings = settings_of(catalogue)
    settings = settings.model_copy(update={"data": settings.data.model_copy(update=elsewhere)})
    with pytest.raises(SettingsError, match=r"`data\.cache` must be left out with --engine spark"):
        represent.run(settings, tuned_run, SPARK)
