"""The catalogue: every example by its row, exact and uniform draws among what is allowed, damaged files named."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from mim_tf.data.catalogue import Catalogue
from mim_tf.data.catalogue_writer import CATALOGUE_FILE
from mim_tf.errors import DataError
from tests.data.conftest import write_catalogue_of


def categories_of(*sizes: int) -> list[str]:
    return [f"c{number}" for number, size in enumerate(sizes) for _ in range(size)]


def packed(rows: Sequence[int]) -> bytes:
    return np.array(sorted(rows), "<i8").tobytes()


class Numbers:
    """Stands in for a random generator: gives the numbers it is told and keeps the bounds it was asked for."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = np.array(numbers)
        self.bounds = np.array([])

    def integers(self, bounds: np.ndarray) -> np.ndarray:
        self.bounds = bounds
        return self.numbers


def allowed_of(categories: Sequence[str], item: int, chosen: set[int]) -> tuple[list[int], bool]:
    """By hand: the rows that may be drawn, and whether they are a fallback. Neighbours are those beside by name."""
    names = sorted(set(categories))
    own = names.index(categories[item])
    for reach in (0, 1, len(names)):
        pool = [row for row, name in enumerate(categories) if abs(names.index(name) - own) <= reach]
        if left := [row for row in pool if row != item and row not in chosen]:
            return left, reach > 0
    return [row for row in range(len(categories)) if row != item], True


def test_every_number_draws_the_allowed_row_of_that_number(tmp_path: Path) -> None:
    categories = categories_of(1, 2, 5, 1, 1, 20, 3)
    catalogue, random = Catalogue.open(write_catalogue_of(tmp_path, categories)), np.random.default_rng(0)
    rows, pairs, fallbacks = len(categories), [], 0
    for item in range(rows):
        # From nothing to everything; with the positive itself among them and without.
        pairs += [(item, set(random.choice(rows, size, replace=False).tolist())) for size in (0, 3, 15, 28, 31, rows)]
    allowed = [allowed_of(categories, item, chosen) for item, chosen in pairs]
    items, chosen = np.array([item for item, _ in pairs]), [packed(list(rows)) for _, rows in pairs]
    for number in range(max(len(left) for left, _ in allowed)):
        numbers = Numbers([min(number, len(left) - 1) for left, _ in allowed])
        found, fallback = catalogue.negatives(items, chosen, numbers)  # type: ignore[arg-type]
        np.testing.assert_array_equal(numbers.bounds, [len(left) for left, _ in allowed])
        np.testing.assert_array_equal(found, [left[at] for (left, _), at in zip(allowed, numbers.numbers, strict=True)])
        np.testing.assert_array_equal(fallback, [of_others for _, of_others in allowed])
        fallbacks = int(fallback.sum())
    assert 20 < fallbacks < len(pairs) - 20


def test_each_pool_of_the_chain_is_left_only_when_it_is_empty(tmp_path: Path) -> None:
    catalogue = Catalogue.open(write_catalogue_of(tmp_path, ["a", "a", "b", "c", "d"]))
    chain: list[tuple[set[int], set[int], bool]] = [
        (set(), {1}, False),  # its own category
        ({1}, {2}, True),  # the neighbour group: a and b
        ({1, 2}, {3, 4}, True),  # the catalogue
        ({0, 1, 2, 3, 4}, {1, 2, 3, 4}, True),  # all was chosen: anything but itself
    ]
    for chosen, expected, is_fallback in chain:
        rows, fallback = catalogue.negatives(np.zeros(200, np.int64), [packed(list(chosen))] * 200, generator())
        assert set(rows.tolist()) == expected
        assert (fallback == is_fallback).all()


def test_broader_categories_come_before_the_catalogue(tmp_path: Path) -> None:
    folder = write_catalogue_of(tmp_path, ["b", "d", "d", "a", "c"], ["m", "m", "m", "w", "w"])
    rows, fallback = Catalogue.open(folder).negatives(np.repeat([0, 3], 100), [b""] * 200, generator())
    assert (set(rows[:100].tolist()), set(rows[100:].tolist())) == ({1, 2}, {4})
    assert fallback.all()


def test_draws_are_uniform_over_what_is_allowed(tmp_path: Path) -> None:
    catalogue = Catalogue.open(write_catalogue_of(tmp_path, categories_of(3, 30, 4)))
    chosen, draws = {5, 6, 7, 20, 31}, 27_000
    rows, _ = catalogue.negatives(np.full(draws, 10), [packed(list(chosen))] * draws, generator())
    found, counts = np.unique(rows, return_counts=True)
    allowed = set(range(3, 33)) - chosen - {10}
    assert set(found.tolist()) == allowed
    expected = draws / len(allowed)
    # 23 degrees of freedom: 49.7 is exceeded once in a thousand.
    assert ((counts - expected) ** 2 / expected).sum() < 49.7


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def test_examples_are_those_of_the_rows_from_any_thread(tmp_path: Path) -> None:
    categories = categories_of(4, 9)
    catalogue = Catalogue.open(write_catalogue_of(tmp_path, categories, held_out=[2, 5, 6]))
    assert (len(catalogue), catalogue.categories) == (13, ["c0", "c1"])
    np.testing.assert_array_equal(catalogue.category_of(np.array([12, 3, 4])), [1, 0, 1])

    def read(seed: int) -> None:
        rows = np.random.default_rng(seed).integers(0, 13, 40)
        for row, example in zip(rows, catalogue.examples(rows), strict=True):
            feature = tf.train.Example.FromString(example).features.feature
            assert feature["item_id"].int64_list.value[:] == [row]
            assert feature["image"].bytes_list.value[:] == [f"image {row}".encode() + b"\0" * (row % 5)]
            assert feature["category"].bytes_list.value[:] == [categories[row].encode()]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(40)))


def test_the_index_is_mapped_not_read(tmp_path: Path) -> None:
    folder = write_catalogue_of(tmp_path, categories_of(2000))
    before = pa.total_allocated_bytes()
    catalogue = Catalogue(folder)
    assert pa.total_allocated_bytes() - before < 10_000  # 2,000 rows of 7 columns of 8 bytes are 112 kB
    assert len(catalogue.examples(np.array([7]))) == 1


def test_a_file_that_was_changed_after_opening_is_named(tmp_path: Path) -> None:
    folder = write_catalogue_of(tmp_path, categories_of(6))
    catalogue, everything = Catalogue.open(folder), np.arange(6)
    path = folder / "items/train-00001-of-00003.tfrecord"
    content = path.read_bytes()
    for changed in (content[:-20], b"\1" + content[1:]):
        path.write_bytes(changed)
        with pytest.raises(DataError, match=f"`{path}` must hold .* bytes of an item at .*: prepare again"):
            catalogue.examples(everything)
    path.unlink()
    with pytest.raises(DataError, match=rf"`{path}` must be readable\. Received: No such file"):
        catalogue.examples(everything)


def test_records_that_are_damaged_are_named_at_once(tmp_path: Path) -> None:
    folder = write_catalogue_of(tmp_path, categories_of(6))
    path = folder / "items/train-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=f"`{path}` must be an intact TFRecord file"):
        Catalogue.open(folder)
    Catalogue.open(folder, verify=False)


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda content: b"no index", lambda content: b""])
def test_an_index_that_is_damaged_is_named(tmp_path: Path, damage: Any) -> None:
    path = write_catalogue_of(tmp_path, categories_of(6)) / CATALOGUE_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"`{path}` must be as `prepare` wrote it: prepare again"):
        Catalogue.open(tmp_path)


def test_an_index_that_is_missing_or_of_other_records_is_named(tmp_path: Path) -> None:
    folder = write_catalogue_of(tmp_path / "six", categories_of(6))
    other = write_catalogue_of(tmp_path / "five", categories_of(5)) / CATALOGUE_FILE
    (folder / CATALOGUE_FILE).write_bytes(other.read_bytes())
    with pytest.raises(DataError, match=r"`catalogue\.arrow` must list the 6 items of the records.*Received: 5 in "):
        Catalogue.open(folder)
    (folder / CATALOGUE_FILE).unlink()
    with pytest.raises(DataError, match=rf"`{folder / CATALOGUE_FILE}` must be as .* Received: .*No such file"):
        Catalogue.open(folder)
