"""The table that is made from the store: its precision, its spare rows, its version."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from mim_tf.training.rankers import load_table
from mim_tf.training.represent import fingerprint_file, store_path
from mim_tf.workdir import StageFolder
from tests.training.toy_ranking import ITEMS, make_workdir, settings_of


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    make_workdir(folder)
    return folder


def with_rows(folder: Path, rows: str) -> Settings:
    settings = settings_of(folder)
    return settings.model_copy(update={"represent": settings.represent.model_copy(update={"rows": rows})})


def store_of(folder: Path) -> EmbeddingStore:
    return EmbeddingStore(store_path(settings_of(folder), folder))


@pytest.mark.parametrize("rows", ["float16", "int8"])
def test_rows_are_kept_as_the_settings_say(workdir: Path, rows: str) -> None:
    stored = store_of(workdir).read()
    found = load_table(with_rows(workdir, rows), workdir).lookup(tf.constant(stored.item_ids)).numpy()
    embeddings = stored.embeddings.astype(np.float32)
    steps = np.abs(embeddings).max(axis=1, keepdims=True) / 127  # of 8 bits
    errors = np.abs(found - embeddings)
    # Rounding takes half a step, and bringing 127 steps back as float16 at most 127 / 2^11 of one.
    assert (errors <= (0.563 * steps if rows == "int8" else 0)).all()
    assert (errors.max() > 0) == (rows == "int8")


def test_an_old_version_can_be_had(tmp_path: Path) -> None:
    settings = make_workdir(tmp_path)
    store = store_of(tmp_path)
    old, item = store.version, store.read().item_ids[:1]
    new = store.upsert(item, np.full([1, store.dim], 3.0), encoder="random")
    for version, expected in ((old, old), (new, new), (None, new)):
        table = load_table(settings, tmp_path, version=version)
        assert int(table.version) == expected
        assert (np.unique(table.lookup(tf.constant(item))).tolist() == [3.0]) == (expected == new)


def test_another_encoders_store_is_refused(tmp_path: Path) -> None:
    settings = make_workdir(tmp_path)
    fingerprint_file(StageFolder(tmp_path, "represent")).write_text("trained\n")
    with pytest.raises(
        StageError, match=r"store\.lance must hold embeddings of the encoder trained\. Received: of random"
    ):
        load_table(settings, tmp_path)


def test_a_store_elsewhere_is_found(tmp_path: Path) -> None:
    settings = make_workdir(tmp_path)
    Path(store_path(settings, tmp_path)).rename(tmp_path / "elsewhere")
    moved = settings.represent.model_copy(update={"store": f"file://{tmp_path}/elsewhere"})
    table = load_table(settings.model_copy(update={"represent": moved}), tmp_path)
    assert table.capacity >= ITEMS
