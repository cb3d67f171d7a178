"""Drawn requests: of the size asked for, and every row of them was recorded."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.load.resampling import Resampler, Sizes

# What belongs together can be told: a category is 10 times its item, a vector holds the item twice, a behaviour is 100
# times its user and its place, and a user has as many thousands for context and state.
RANK = {
    "item_id": [[1, 2, 3], [4, -1, -1]],
    "category": [[10, 20, 30], [40, -10, -10]],
    "item_content": [[[1, 1], [2, 2], [3, 3]], [[4, 4], [0, 0], [0, 0]]],
    "history_item_id": [[101, 102, 103, 104], [201, 202, -1, -1]],
    "history_content": [[[101], [102], [103], [104]], [[201], [202], [0], [0]]],
    "timestamp": [1000, 2000],
    "state_content": [[[1000] * 3] * 3, [[2000] * 3] * 3],  # [users, 3, 3] beside [users, 3] candidates
    "top_k": [5, 5],
}


def request(inputs: dict[str, Any], signature: str = "rank") -> predict_pb2.PredictRequest:
    protos = {name: tf.make_tensor_proto(np.asarray(column)) for name, column in inputs.items()}
    spec = model_pb2.ModelSpec(name="ranker", signature_name=signature)
    return predict_pb2.PredictRequest(model_spec=spec, inputs=protos)


def drawn(recorded: list[dict[str, Any]], seed: int = 0, **sizes: int) -> dict[str, np.ndarray]:
    made = Resampler([request(inputs) for inputs in recorded], Sizes(**sizes), seed).draw()
    assert (made.model_spec.name, made.model_spec.signature_name) == ("ranker", "rank")
    return {name: tf.make_ndarray(proto) for name, proto in made.inputs.items()}


def test_lists_of_candidates_and_histories() -> None:
    other = {**RANK, "item_id": [[7, 8, 9], [7, 8, 9]], "category": [[70, 80, 90], [70, 80, 90]]}
    found = drawn([RANK, other], users=50, candidates=40, history=6)
    shapes = {name: column.shape for name, column in found.items()}
    assert shapes == {
        "item_id": (50, 40),
        "category": (50, 40),
        "item_content": (50, 40, 2),
        "history_item_id": (50, 6),
        "history_content": (50, 6, 1),
        "timestamp": (50,),
        "state_content": (50, 3, 3),
        "top_k": (50,),
    }
    assert set(found["item_id"].flat) == {1, 2, 3, 4, 7, 8, 9}  # of both records, and no padding
    np.testing.assert_array_equal(found["category"], 10 * found["item_id"])
    users = found["timestamp"] // 1000
    assert set(users) == {1, 2}
    np.testing.assert_array_equal(found["state_content"], np.broadcast_to(1000 * users[:, None, None], (50, 3, 3)))
    history = found["history_item_id"]
    np.testing.assert_array_equal(history // 100, np.broadcast_to(users[:, None], (50, 6)))  # each user's own
    assert (np.diff(history) >= 0).all()  # in their order
    np.testing.assert_array_equal(found["history_content"][:, :, 0], history)
    assert {column.dtype for name, column in found.items()} == {np.dtype(np.int64)}


def test_flat_histories_have_lengths() -> None:
    ragged = {
        "item_id": [[1, 2], [3, 4], [5, 6]],
        "history_item_id": [101, 102, 103, 301],
        "history_category": [1010, 1020, 1030, 3010],
        "history_length": [3, 0, 1],
        "timestamp": [1000, 2000, 3000],
    }
    found = drawn([ragged], users=20, history=5)
    assert found["item_id"].shape == (20, 2)  # as recorded
    np.testing.assert_array_equal(found["history_length"], [5] * 20)
    users = found["timestamp"] // 1000
    assert set(users) == {1, 3}  # user 2 has no behaviours to draw from
    np.testing.assert_array_equal(found["history_item_id"] // 100, np.repeat(users, 5))
    np.testing.assert_array_equal(found["history_category"], 10 * found["history_item_id"])


def test_rows_without_lists_and_string_ids() -> None:
    rows = {
        "item_id": np.array([b"a", b"b", b"c"], object),
        "item_content": np.array([[1.0, 1], [2, 2], [3, 3]], np.float16),
        "history_item_id": np.array([[b"x", b"y"], [b"z", b""], [b"", b""]], object),
    }
    found = drawn([rows], users=30, history=3)
    letters = {b"a": 1.0, b"b": 2.0}  # c has padding alone
    assert set(found["item_id"]) == set(letters)
    assert found["item_content"].dtype == np.float16
    np.testing.assert_array_equal(found["item_content"][:, 0], [letters[item] for item in found["item_id"]])
    for item, history in zip(found["item_id"], found["history_item_id"], strict=True):
        assert set(history) <= ({b"x", b"y"} if item == b"a" else {b"z"})


def test_inputs_without_ids_are_drawn_by_row() -> None:
    found = drawn([{"image": np.array([b"1", b"2"], object), "title": np.array([b"1!", b"2!"], object)}], users=9)
    np.testing.assert_array_equal(found["title"], [image + b"!" for image in found["image"]])


def test_the_seed_alone_chooses() -> None:
    first, again, other = (drawn([RANK], seed, users=5, candidates=30)["item_id"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("inputs", "sizes", "message"),
    [
        (RANK, {"users": 0}, r"`users` must be 1 or more\. Received: 0\."),
        ({"item_id": [1]}, {"candidates": 3}, "`candidates` must be left out: the recorded requests have none"),
        ({"item_id": [1]}, {"history": 3}, "`history` must be left out: the recorded requests have none"),
        ({"item_id": [1], "history_item_id": [[-1, -1]]}, {"history": 3}, "all that was recorded is padding"),
        ({"item_id": [[-1, -1]]}, {"candidates": 3}, "all that was recorded is padding"),
        ({"item_id": [1, 2], "query": [1]}, {"users": 3}, r"'query' must have a row for each of 2 users\. .*: \[1\]"),
    ],
)
def test_what_cannot_be_drawn(inputs: dict[str, Any], sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        drawn([inputs], **sizes)
