"""A table as a model of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.export.table_model import save_table
from mim_tf.representation import StoredEmbeddings
from mim_tf.settings import Settings
from mim_tf.training.tables import table_of

DIM = 3


def settings_of(**changes: Any) -> Settings:
    return Settings.model_validate({"data": {"items": "items.parquet"}, **changes})


def stored_items(rows: np.ndarray, item_ids: np.ndarray | None = None, slots: int = 1) -> StoredEmbeddings:
    ids = rows * 7 if item_ids is None else item_ids
    embeddings = np.random.default_rng(0).normal(size=(len(rows), DIM)).astype(np.float16)
    return StoredEmbeddings(ids, rows, embeddings, "e", 5, store="s", slots=slots)


def test_the_rows_are_kept_as_the_settings_say(tmp_path: Path) -> None:
    stored = stored_items(np.arange(2000))
    sizes = {}
    for kept in ("float16", "int8"):
        table = table_of(stored, settings_of(represent={"rows": kept}), spare=0.25)
        save_table(table, stored, tmp_path / kept)
        model = tf.saved_model.load(str(tmp_path / kept))
        answer = model.signatures["serving_default"](item_id=tf.constant(stored.item_ids))["embedding"]
        # int8 rounds to a 127th of a row's largest component, none of which is above 5.
        np.testing.assert_allclose(answer, stored.embeddings, atol=0 if kept == "float16" else 5 / 127 / 2 + 2**-9)
        sizes[kept] = sum(path.stat().st_size for path in (tmp_path / kept / "variables").iterdir())
    # 3,024 rows and the one of zeros, each 6 bytes or 3 and a scale of 4.
    assert sizes["float16"] - sizes["int8"] == pytest.approx(3025 * (6 - 7), abs=200)


def test_a_shard_without_items_takes_its_first_ones(tmp_path: Path) -> None:
    names = np.array(["mug", "dress"], object)
    whole = stored_items(np.array([0, 4]), names, slots=4)  # both in slot 0
    shard = whole.shard(1, 2)
    save_table(table_of(shard, settings_of(), spare=0.25), shard, tmp_path)
    model = tf.saved_model.load(str(tmp_path))
    lookup = model.signatures["lookup"]
    assert not lookup(item_id=tf.constant(names))["hit"].numpy().any()
    change = {"row": tf.constant([0], tf.int64), "embedding": tf.ones([1, DIM], tf.float16)}
    numbers = {name: tf.constant([5], tf.int64) for name in ("since", "version")}
    numbers["sequence"] = tf.constant([0], tf.int64)
    model.signatures["upsert"](item_id=tf.constant(["mug"]), **change, **numbers)
    np.testing.assert_array_equal(lookup(item_id=tf.constant(["mug"]))["embedding"], np.ones([1, DIM]))
