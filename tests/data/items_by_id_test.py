"""Items by their ids: each id its own image and title, whatever else is asked for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data.catalogue_writer import CATALOGUE_FILE, write_catalogue
from mim_tf.data.items_by_id import FoundItems, ItemsById
from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema
from mim_tf.data.record_writer import write_shards
from mim_tf.errors import DataError
from tests.data.conftest import write_catalogue_of

ROWS = 13


def check(found: FoundItems, expected: list[int | None]) -> None:
    """`expected` are the rows of the items, none where there is no such item."""
    rows = [row for row in expected if row is not None]
    assert found.titles.numpy().tolist() == [f"title {row}".encode() for row in rows]
    assert found.images.numpy().tolist() == [f"image {row}".encode() + b"\0" * (row % 5) for row in rows]
    numbers = iter(range(len(rows)))
    assert found.places.numpy().tolist() == [len(rows) if row is None else next(numbers) for row in expected]


def test_ids_that_are_numbers(tmp_path: Path) -> None:
    find = ItemsById(write_catalogue_of(tmp_path, ["a"] * ROWS, held_out=[3, 7]))
    for lookup in (find, tf.function(find)):
        check(lookup(tf.constant([12, 3, -1, 0, 2**62, 7, 13], tf.int64)), [12, 3, None, 0, None, 7, None])
        check(lookup(tf.constant([-1, -(2**63)], tf.int64)), [None, None])
        check(lookup(tf.zeros([0], tf.int64)), [])


def test_ids_that_are_text(tmp_path: Path) -> None:
    """In another order than the rows, with letters whose order differs between bytes and characters."""
    ids = ["zebra", "Äpfel", "a", "aa", "手机", "\U0001f600"]
    images = pa.array([f"image {row}".encode() + b"\0" * (row % 5) for row in range(len(ids))])
    titles = [f"title {row}" for row in range(len(ids))]
    batch = pa.record_batch({"item_id": ids, "title": titles, "category": ["c"] * len(ids), "image": images})
    shards = write_shards(tmp_path, TRAIN_ITEMS, [batch], total=len(ids), shards=2, progress=lambda *_: None)
    listed = {"item_id": ids, "category": ["c"] * len(ids), "held_out": [False] * len(ids)}
    write_catalogue(tmp_path, pa.table(listed | {"position": np.arange(len(ids))}), shards, [])
    RecordSchema("string", None, None, {TRAIN_ITEMS: len(ids)}, {TRAIN_ITEMS: shards}).save(str(tmp_path))

    find = ItemsById(tmp_path)
    asked = ["\U0001f600", "", "a", "zebra", "ab", "zz", "Äpfel", "aa", "手机"]
    for lookup in (find, tf.function(find)):
        check(lookup(tf.constant(asked)), [5, None, 2, 0, None, None, 1, 3, 4])


def test_shapes_are_known_as_far_as_they_can_be(tmp_path: Path) -> None:
    find = tf.function(ItemsById(write_catalogue_of(tmp_path, ["a"] * ROWS)))
    found = find.get_concrete_function(tf.TensorSpec([4], tf.int64)).structured_outputs
    assert [part.shape.as_list() for part in found] == [[None], [None], [4]]


def test_records_without_their_catalogue_are_refused(tmp_path: Path) -> None:
    write_catalogue_of(tmp_path, ["a"] * ROWS)
    (tmp_path / CATALOGUE_FILE).unlink()
    with pytest.raises(DataError, match=rf"{CATALOGUE_FILE}` must be as `prepare` wrote it"):
        ItemsById(tmp_path)
