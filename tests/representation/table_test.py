"""The in-graph table against a dictionary, before and after a SavedModel."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import DistributedTable, EmbeddingTable
from mim_tf.representation.item_keys import item_keys, spread

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


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_rows_with_gaps_spare_rows_and_misses(dtype: str) -> None:
    table = EmbeddingTable(INT_IDS, ROWS, rows=np.array([5, 0, 9, 2]), version=7, spare=3, dtype=dtype)
    embeddings, hits = table.lookup_with_hits(tf.constant([[0, 1], [-1, -5]], tf.int64))
    np.testing.assert_array_equal(hits, [[True, False], [False, True]])
    # int8 keeps a row's largest component; the other is off by half a step of it, 1 / 254, at most
    np.testing.assert_allclose(embeddings[0], [ROWS[3], [0, 0]], atol=0 if dtype == "float16" else 8 / 254)
    np.testing.assert_allclose(embeddings[1], [[0, 0], ROWS[2]], atol=0 if dtype == "float16" else 6 / 254)
    assert embeddings.dtype == tf.float16
    assert int(table.version) == 7
    last = 9 + 3  # the last spare row
    table.upsert(np.array([70]), np.array([last]), np.full([1, 2], 3.0), since=7, version=8)
    np.testing.assert_array_equal(table.lookup(tf.constant([70, 71], tf.int64)), [[3, 3], [0, 0]])


def test_a_table_can_start_empty() -> None:
    table = EmbeddingTable(np.zeros(0, np.int64), np.zeros([0, 2]), spare=1)
    table.upsert(np.array([70]), np.array([0]), np.full([1, 2], 3.0), since=0, version=1)
    np.testing.assert_array_equal(table.lookup(tf.constant([70, 71], tf.int64)), [[3, 3], [0, 0]])


@pytest.mark.parametrize("shift", [0, 8, 32, 40, 46])
def test_ids_whose_low_bits_are_the_same_get_keys_that_differ_there(shift: int) -> None:
    """A shop's or a second's number above those of its items, say. The oracle is how many buckets random keys hit."""
    ids, buckets = np.arange(2**16, dtype=np.int64) << shift, 2**18
    keys = spread(tf.constant(ids)).numpy()
    assert len(np.unique(keys)) == len(ids)
    at_random = buckets * (1 - np.exp(-len(ids) / buckets))
    assert len(np.unique(keys % buckets)) > 0.9 * at_random
    table = EmbeddingTable(ids, np.arange(len(ids))[:, np.newaxis] % 2000)
    np.testing.assert_array_equal(table.lookup(tf.constant(ids))[:, 0], np.arange(len(ids)) % 2000)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": np.array([0, 1, 1, 2])}, "`rows` must be 0 or more and each item's own"),
        ({"rows": np.array([0, 1, -1, 2])}, "`rows` must be 0 or more and each item's own"),
        ({"rows": np.arange(3)}, r"`rows` must have the shape \(4,\)\. Received: \(3,\)"),
        ({"spare": -1}, r"`spare` must be 0 or more\. Received: -1"),
        ({"dtype": "float8"}, r"`dtype` must be one of float16, int8\. Received: 'float8'"),
        ({"embeddings": np.array([[1, 1], [1, np.inf], [1, 1], [1, 1]])}, r"finite in float16\. Received: item \d+ "),
        ({"item_ids": np.array(["a", "", "b", "c"], object)}, r"must not hold the reserved ids \('',\)\. Received: ''"),
    ],
)
def test_arguments_that_make_no_table_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddingTable(**({"item_ids": INT_IDS, "embeddings": ROWS} | changes))


def test_a_table_for_parameter_servers_refuses_to_change() -> None:
    table = DistributedTable(INT_IDS, ROWS)
    np.testing.assert_array_equal(table.lookup(tf.constant(INT_IDS)), ROWS)
    with pytest.raises(NotImplementedError, match="cannot change"):
        table.upsert(np.array([70]), np.array([0]), np.ones([1, 2]), since=0, version=1)
