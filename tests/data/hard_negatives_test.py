"""Hard negatives inside the input pipeline: fresh every epoch, the same after a restart, never what a user chose."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data.catalogue_writer import write_catalogue
from mim_tf.data.hard_negatives import HardNegatives
from mim_tf.data.record_schema import PAIRS, TRAIN_ITEMS, RecordSchema
from mim_tf.data.record_writer import write_shards
from mim_tf.data.training_batches import training_batches
from mim_tf.errors import DataError
from tests.data.conftest import write_catalogue_of

Batch = dict[str, np.ndarray]
# Rows 0 to 5 are of category a, 6 is all of b, 7 and 8 are of c, 9 to 12 of d.
CATEGORIES = [*"aaaaaa", "b", *"cc", *"dddd"]
PAIRS_OF = {  # item: what its user chose
    0: [0, 3],
    4: [4],
    6: [6],
    7: [7, 8],
    8: [],
    9: [*range(13)],
}
EXPECTED = {  # item: what may be drawn, and whether that is a fallback
    0: ({1, 2, 4, 5}, False),
    4: ({0, 1, 2, 3, 5}, False),
    6: ({0, 1, 2, 3, 4, 5, 7, 8}, True),
    7: ({6, 9, 10, 11, 12}, True),
    8: ({7}, False),
    9: (set(range(13)) - {9}, True),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Each pair of `PAIRS_OF` once; the items' row numbers are their ids."""
    write_catalogue_of(tmp_path, CATEGORIES, held_out=[3, 7])
    pairs = {
        **{name: ["x"] * len(PAIRS_OF) for name in ("query_image", "image", "title")},
        "query_item_id": [-1] * len(PAIRS_OF),
        **{name: list(PAIRS_OF) for name in ("item_id", "item_row")},
        "chosen_rows": pa.array([np.array(rows, "<i8").tobytes() for rows in PAIRS_OF.values()]),
    }
    written = write_shards(
        tmp_path, PAIRS, [pa.record_batch(pairs)], total=len(PAIRS_OF), shards=2, progress=lambda *_: None
    )
    schema = RecordSchema.load(tmp_path)
    schema.shards[PAIRS], schema.counts[PAIRS] = written, len(PAIRS_OF)
    schema.save(str(tmp_path))
    return tmp_path


def dataset(folder: Path, **changes: Any) -> tf.data.Dataset:
    draw = HardNegatives(folder)

    def assemble(pairs: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"item_id": pairs["item_id"]} | draw(pairs["item_row"], pairs["chosen_rows"], seed)

    arguments: dict[str, Any] = {"batch_size": 3, "decode": lambda pair: pair, "assemble": assemble, "seed": 7}
    return training_batches(folder, PAIRS, **arguments | changes)


def batches(folder: Path, count: int, **changes: Any) -> list[Batch]:
    return list(dataset(folder, **changes).take(count).as_numpy_iterator())


def drawn(found: list[Batch]) -> dict[int, list[int]]:
    """For each item its negatives, in the order of epochs."""
    rows: dict[int, list[int]] = {item: [] for item in PAIRS_OF}
    for batch in found:
        for item, negative in zip(batch["item_id"], batch["negative_item_id"], strict=True):
            rows[int(item)].append(int(negative))
    return rows


def test_the_negatives_fields_are_those_of_one_item(folder: Path) -> None:
    spec = dataset(folder, batch_size=4).element_spec
    assert {name: (kind.shape.as_list(), kind.dtype.name) for name, kind in spec.items()} == {
        "item_id": ([4], "int64"),
        **{f"negative_{name}": ([4], kind) for name, kind in (("item_id", "int64"), ("image", "string"))},
        "negative_title": ([4], "string"),
        "category": ([4], "int64"),
        "negative_fallback": ([4], "bool"),
    }
    for batch in batches(folder, 20):
        for row, item in enumerate(batch["item_id"]):
            negative = batch["negative_item_id"][row]
            assert batch["negative_title"][row] == f"title {negative}".encode()
            assert batch["negative_image"][row] == f"image {negative}".encode() + b"\0" * (negative % 5)
            assert batch["category"][row] == "abcd".index(CATEGORIES[item])
            assert batch["negative_fallback"][row] == EXPECTED[item][1]


def test_over_many_epochs_all_that_is_allowed_is_drawn_and_nothing_else(folder: Path) -> None:
    epochs = 400
    for item, negatives in drawn(batches(folder, epochs * len(PAIRS_OF) // 3)).items():
        counts, expected = Counter(negatives), epochs / len(EXPECTED[item][0])
        assert set(counts) == EXPECTED[item][0]
        # At most 11 degrees of freedom: 31.3 is exceeded once in a thousand.
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 31.3


def test_an_epoch_draws_afresh(folder: Path) -> None:
    negatives = drawn(batches(folder, 40 * len(PAIRS_OF) // 3))[4]
    # Of five items: the next epoch's is another one four times of five.
    assert 20 < sum(one != other for one, other in itertools.pairwise(negatives)) < 39


@pytest.mark.parametrize("first", [1, 4, 11])
def test_a_training_that_continues_sees_the_same_negatives(folder: Path, first: int) -> None:
    whole = batches(folder, 14, batch_size=5)
    tf.random.set_seed(first)
    rest = batches(folder, 14 - first, batch_size=5, first_batch=first)
    for one, other in zip(rest, whole[first:], strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert drawn(batches(folder, 14, batch_size=5, seed=8)) != drawn(whole)


def test_slices_that_are_drawn_at_once_in_threads_do_not_disturb_each_other(folder: Path) -> None:
    # 600 rows are four slices of 150 each, of which several are assembled at the same time.
    first, second = (batches(folder, 4, batch_size=600) for _ in range(2))
    assert drawn(first) == drawn(second)
    assert all(set(negatives) == EXPECTED[item][0] for item, negatives in drawn(first).items())


def test_ids_may_be_strings(tmp_path: Path) -> None:
    images = pa.array([b"1", b"2"])
    items = pa.record_batch({"item_id": ["x", "y"], "title": ["a", "b"], "category": ["c", "c"], "image": images})
    shards = write_shards(tmp_path, TRAIN_ITEMS, [items], total=2, shards=1, progress=lambda *_: None)
    listed = {"item_id": ["x", "y"], "category": ["c", "c"], "held_out": [False] * 2, "position": [0, 1]}
    write_catalogue(tmp_path, pa.table(listed), shards, [])
    RecordSchema("string", None, None, {TRAIN_ITEMS: 2}, {TRAIN_ITEMS: shards}).save(str(tmp_path))
    found = HardNegatives(tmp_path)(tf.constant([0, 1], tf.int64), tf.constant(["", ""]), tf.constant([-5, 2]))
    assert found["negative_item_id"].numpy().tolist() == [b"y", b"x"]


def test_a_file_that_is_damaged_while_training_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"`folder` must hold training records"):
        HardNegatives(folder / "nowhere")
    batches_of = dataset(folder).take(40)
    path = folder / "items/train-00000-of-00003.tfrecord"
    path.write_bytes(path.read_bytes()[:5])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{path}` must hold .* bytes of an item"):
        list(batches_of)
