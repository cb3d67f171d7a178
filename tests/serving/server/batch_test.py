"""Joining requests and parting their answers, by the rows of NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.serving.server.batch import Tensors, join, pad, part, rows_of


def request(start: int, rows: int) -> dict[str, np.ndarray]:
    numbers = np.arange(start, start + 3 * rows).reshape([rows, 3])
    return {"history": numbers, "query": numbers[:, 0].astype(str).astype("S")}


def tensors(arrays: dict[str, np.ndarray]) -> Tensors:
    return {name: tf.constant(array) for name, array in arrays.items()}


@pytest.mark.parametrize("sizes", [[1], [2, 1], [1, 4, 2]])
@pytest.mark.parametrize("filling", [0, 3])
def test_rows_are_joined_filled_up_and_parted(sizes: list[int], filling: int) -> None:
    requests = [request(100 * number, size) for number, size in enumerate(sizes)]
    rows = sum(sizes) + filling
    joined = join([tensors(arrays) for arrays in requests], rows)
    for name, tensor in joined.items():
        first_of_last = requests[-1][name][:1]
        expected = np.concatenate([*(arrays[name] for arrays in requests), *[first_of_last] * filling])
        np.testing.assert_array_equal(tensor.numpy().astype(expected.dtype), expected)

    for arrays, parted in zip(requests, part(joined, sizes, rows), strict=True):
        for name, array in arrays.items():
            np.testing.assert_array_equal(parted[name].numpy().astype(array.dtype), array)


def test_shorter_dimensions_are_padded_with_the_first_element() -> None:
    requests = [
        {"history": tf.constant([[[1, 2]]]), "query": tf.constant([["a", "b"]])},
        {"history": tf.constant([[[5], [6], [7]], [[8], [9], [10]]]), "query": tf.constant([["c"], ["d"]])},
    ]
    first, second = pad(requests)
    np.testing.assert_array_equal(first["history"], [[[1, 2], [1, 1], [1, 1]]])
    np.testing.assert_array_equal(second["history"], [[[5, 5], [6, 5], [7, 5]], [[8, 5], [9, 5], [10, 5]]])
    assert first["query"].numpy().tolist() == [[b"a", b"b"]]
    assert second["query"].numpy().tolist() == [[b"c", b"c"], [b"d", b"c"]]


def test_without_an_element_nothing_can_be_padded() -> None:
    requests = [{"history": tf.zeros([2, 0])}, {"history": tf.zeros([1, 3])}]
    with pytest.raises(tf.errors.InvalidArgumentError, match="empty tensor in batch of non-empty tensors"):
        pad(requests)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({}, "must have at least one input tensor"),
        ({"item_id": np.array([1, 2]), "top_k": np.array(1)}, "input tensors must have at least one dimension"),
        ({"item_id": np.zeros([2]), "history": np.zeros([3])}, "input tensors must have equal 0th-dimension size"),
    ],
)
def test_what_has_no_rows_is_refused_in_the_words_of_tf_serving(arrays: dict, match: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Batching Run\\(\\) {match}"):
        rows_of(tensors(arrays))


def test_rows_are_those_of_all_tensors() -> None:
    assert rows_of(tensors(request(0, 4))) == 4
    assert rows_of({"item_id": tf.zeros([0])}) == 0


@pytest.mark.parametrize("output", [np.zeros([2, 1]), np.array(7)])
def test_outputs_that_have_not_a_row_for_each_row_cannot_be_parted(output: np.ndarray) -> None:
    outputs = {"score": tf.zeros([3]), "polls": tf.constant(output)}
    with pytest.raises(tf.errors.FailedPreconditionError, match="0th dimension does not equal the sum"):
        part(outputs, [1, 2], 3)
