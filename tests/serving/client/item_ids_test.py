"""Ids keep every bit, whatever they come as."""

from typing import Any

import numpy as np
import pytest

from mim_tf.serving.client.item_ids import distinct, item_ids_of

BIG = 2**53 + 1  # the first integer that a float64 cannot hold


@pytest.mark.parametrize("given", [[[BIG, -1]], np.array([[BIG, -1]]), ((BIG, -1),)])
def test_integers_are_int64(given: Any) -> None:
    item_ids = item_ids_of("x", given)
    assert item_ids.dtype == np.int64
    assert item_ids.tolist() == [[BIG, -1]]


@pytest.mark.parametrize("given", [["a\0", "ü"], [b"a\0", "ü".encode()], np.array(["a\0", "ü"], object)])
def test_strings_are_bytes(given: Any) -> None:
    assert item_ids_of("x", given).tolist() == [b"a\0", "ü".encode()]


@pytest.mark.parametrize("given", [[1.5], [None], [[1], [1, 2]], [True], [2**63], np.uint64([1]), ["a", 1]])
def test_all_else_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"`x` must be an array of integers that fit int64 or of strings, all .*: "):
        item_ids_of("x", given)


@pytest.mark.parametrize("name", [lambda item: item, lambda item: b"" if item < 0 else b"%d" % item])
def test_each_item_is_there_once_without_padding(name: Any) -> None:
    numbers = [[5, 7, 5], [-1, 7, -1]], [9, 5, -1]
    dtype = np.int64 if name(-1) == -1 else object
    one, other = (np.array([name(item) for item in np.ravel(given).tolist()], dtype) for given in numbers)
    items, places = distinct(one.reshape(2, 3), other)
    assert items.tolist() == [name(5), name(7), name(9)]
    assert places.tolist() == [0, 1, 0, -1, 1, -1, 2, 0, -1]


def test_nothing_is_there_of_nothing() -> None:
    items, places = distinct(np.zeros([0, 3], np.int64))
    assert items.dtype == np.int64
    assert (items.tolist(), places.tolist()) == ([], [])
