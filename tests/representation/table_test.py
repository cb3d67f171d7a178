"""The in-graph table against a dictionary, before and after a SavedModel."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingTable, item_keys

pytestmark = pytest.mark.both_kerases

INT_IDS = np.array([7, 2**60 + 1, -5, 0])
STRING_IDS = np.array(["sku-1", "ü", "sku-2", "0"], dtype=object)
ROWS = np.arange(8, dtype=np.float32).reshape(4, 2) + 1


@pytest.mark.parametrize("ids", [INT_IDS, STRING_IDS], ids=["int64", "string"])
def test_lookup_equals_a_dictionary(ids: np.ndarray, tmp_path: Path) -> None:
    table = EmbeddingTable(ids, ROWS)
    known = dict(zip(ids.tolist(), ROWS, strict=True))
    unknown = "none" if ids.dtype == object else 2**60
    asked = [[ids[2], unknown, ids[0]], [ids[3], ids[1], ids[1]]]
    expected = [[known.get(item, np.zeros(2)) for item in row] for row in asked]
    np.testing.assert_array_equal(table.lookup(tf.constant(asked, table.id_dtype)), expected)

    holder = tf.Module()
    holder.table = table
    holder.lookup = tf.function(table.lookup, input_signature=[tf.TensorSpec([None, None], table.id_dtype)])
    tf.saved_model.save(holder, str(tmp_path))
    reloaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(reloaded.lookup(tf.constant(asked, table.id_dtype)), expected)


def test_a_large_table_is_no_constant_of_the_graph(tmp_path: Path) -> None:
    table = EmbeddingTable(np.arange(50_000) + 1, np.ones((50_000, 16), np.float32))
    holder = tf.Module()
    holder.table = table
    holder.lookup = tf.function(table.lookup, input_signature=[tf.TensorSpec([None], tf.int64)])
    tf.saved_model.save(holder, str(tmp_path))
    assert (tmp_path / "saved_model.pb").stat().st_size < 50_000  # a byte per item would be more
    assert tf.saved_model.load(str(tmp_path)).lookup([50_000]).numpy().sum() == 16


def test_empty_requests_are_answered() -> None:
    assert EmbeddingTable(INT_IDS, ROWS).lookup(tf.zeros([3, 0], tf.int64)).shape == (3, 0, 2)


def test_string_keys_are_not_negative_and_int_keys_are_themselves() -> None:
    np.testing.assert_array_equal(item_keys(tf.constant(INT_IDS)), INT_IDS)
    keys = item_keys(tf.strings.as_string(tf.range(10_000))).numpy()
    assert keys.min() >= 0
    assert len(np.unique(keys)) == 10_000


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([3, 4, 3, 5]), r"`item_ids` must have keys of their own\. Received: .*3.* and .*3.* with the same"),
        (np.array([3, 4, -1, 5]), r"`item_ids` must not hold the reserved ids .*Received: -1"),
        (np.array([3, 4, np.iinfo(np.int64).min, 5]), r"must not hold the reserved ids"),
        (np.array([3, 4, 5]), r"`item_ids` must have the shape \(4,\)\. Received: \(3,\)"),
    ],
)
def test_ids_that_cannot_be_keys_are_refused(ids: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddingTable(ids, ROWS)
