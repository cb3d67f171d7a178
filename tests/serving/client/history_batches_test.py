"""Lists of behaviours become what signatures take."""

from typing import Any

import numpy as np
import pytest

from mim_tf.serving.client import batch_histories

BIG = 2**53 + 1  # the first integer that a float64 cannot hold


def test_lists_are_padded_at_the_end() -> None:
    inputs = {
        "item_id": [7, 8, 9],
        "history_item_id": [[1, BIG], [3], []],
        "history_category": [["mug", "süß"], [b"dress"], []],
        "history_timestamp": [[10, 20], [30], []],
        "history_price": [[1.5, 2.5], [3.5], []],
    }
    batch = batch_histories(inputs)
    assert batch["item_id"] is inputs["item_id"]
    assert {name: np.asarray(value).tolist() for name, value in batch.items() if name != "item_id"} == {
        "history_item_id": [[1, BIG], [3, -1], [-1, -1]],
        "history_category": [[b"mug", "süß".encode()], [b"dress", b""], [b"", b""]],
        "history_timestamp": [[10, 20], [30, 0], [0, 0]],
        "history_price": [[1.5, 2.5], [3.5, 0.0], [0.0, 0.0]],
    }
    dtypes = [np.asarray(batch[f"history_{name}"]).dtype for name in ("item_id", "category", "timestamp", "price")]
    assert dtypes == [np.int64, object, np.int64, np.float32]


def test_lists_become_flat() -> None:
    batch = batch_histories({"boost": [0.5], "history_item_id": [["a\0", "b"], [], ["c"]]}, ragged=True)
    assert {name: np.asarray(value).tolist() for name, value in batch.items()} == {
        "boost": [0.5],
        "history_item_id": [b"a\0", b"b", b"c"],
        "history_length": [2, 0, 1],
    }
    assert np.asarray(batch["history_length"]).dtype == np.int64


def test_arrays_keep_their_types() -> None:
    rows = [np.array([0.5]), np.zeros(0, np.float64)]
    batch = batch_histories({"history_item_id": np.array([[1], [2]], np.int32)[:, :1], "history_price": [[1], [0.5]]})
    assert [np.asarray(value).dtype for value in batch.values()] == [np.int32, np.float32]
    assert np.asarray(batch_histories({"history_item_id": [[1], []], "history_x": rows})["history_x"]).dtype == (
        np.float64
    )


@pytest.mark.parametrize("ragged", [False, True])
def test_a_user_without_behaviours_needs_a_type(ragged: bool) -> None:
    batch = batch_histories({"history_item_id": [np.zeros(0, np.int64)]}, ragged=ragged)
    assert np.asarray(batch["history_item_id"]).shape == ((0,) if ragged else (1, 0))
    assert np.asarray(batch["history_item_id"]).dtype == np.int64
    with pytest.raises(ValueError, match=r"must have a behaviour, or a row that is an array: .*Received: empty lists"):
        batch_histories({"history_item_id": [[]]}, ragged=ragged)


@pytest.mark.parametrize("ragged", [False, True])
def test_users_without_behaviours_have_the_types_of_their_targets(ragged: bool) -> None:
    targets = {"item_id": [[7, 8], [9, 7]], "category": ["mug", "dress"], "price": [0.5, 1.5], "age": np.int32([1, 2])}
    batch = batch_histories({**targets, **{f"history_{name}": [[], []] for name in targets}}, ragged=ragged)
    for name, dtype in {"item_id": np.int64, "category": object, "price": np.float32, "age": np.int32}.items():
        assert np.asarray(batch[f"history_{name}"]).shape == ((0,) if ragged else (2, 0))
        assert np.asarray(batch[f"history_{name}"]).dtype == dtype


@pytest.mark.parametrize("value", [7, [7], [[[7]]], [[None]], [[object()]], [["a", 7]], [[[1], [1, 2]]]])
def test_what_is_no_list_of_lists_is_named(value: Any) -> None:
    with pytest.raises(
        ValueError, match=r'`inputs\["history_item_id"\]` must be a list of lists of numbers or strings'
    ):
        batch_histories({"history_item_id": value})


def test_columns_must_have_the_same_lengths() -> None:
    match = r'`inputs\["history_category"\]` must have as many behaviours .*, \[2, 1\]\. Received: \[1, 1\]\.'
    with pytest.raises(ValueError, match=match):
        batch_histories({"history_item_id": [[1, 2], [3]], "history_category": [["mug"], ["dress"]]})


def test_a_column_is_of_one_type() -> None:
    with pytest.raises(ValueError, match=r"must hold numbers or strings\. Received: both\."):
        batch_histories({"history_item_id": [[1], ["a"]]})


def test_ids_of_behaviours_are_needed() -> None:
    with pytest.raises(ValueError, match=r"`inputs` must hold history_item_id\. Received: item_id, history_category\."):
        batch_histories({"item_id": [1], "history_category": [["mug"]]})
