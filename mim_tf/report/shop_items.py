"""The few items that a page shows, read from the records of a catalogue of any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.catalogue import Catalogue
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema
from mim_tf.representation.slots import MOST_SLOTS, slots_of
from mim_tf.training.changed_items import plain_ids

ItemId = int | str

_READ_AT_ONCE = 64  # records


class ShopItem(NamedTuple):
    """What the shop says of an item."""

    item_id: ItemId
    title: str
    category: str
    photo: bytes  # encoded, as the records have it


class ShopItems:
    """Finds items of the records by their ids, and draws samples of them.

    Of all items only ids and places are held.

    Args:
        records: what `prepare` wrote.

    Raises:
        DataError: the folder holds no catalogue, or a file is missing.
    """

    def __init__(self, records: Path):
        self._catalogue = Catalogue.open(records, verify=False)
        schema = RecordSchema.load(records)
        self._parse = RecordParser(schema, TRAIN_ITEMS)
        self.item_ids: np.ndarray = plain_ids(self._catalogue.item_ids())  # [items] int64, or str as objects
        self._order = np.argsort(self.item_ids, kind="stable")
        self._sorted = self.item_ids[self._order]

    def __len__(self) -> int:
        return len(self.item_ids)

    def find(self, item_ids: Iterable[ItemId]) -> dict[ItemId, ShopItem]:
        """Read some items; ids that no item has are left out."""
        rows = self.rows_of(np.unique(np.array(list(item_ids), self.item_ids.dtype)))
        return {item.item_id: item for item in self._read(rows[rows >= 0])}

    def rows_of(self, item_ids: np.ndarray) -> np.ndarray:
        """The rows of items in the catalogue, `[ids]` int64; -1 where there is no such item."""
        if not len(item_ids):
            return np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(self._sorted, item_ids), len(self) - 1)
        return np.where(self._sorted[places] == item_ids, self._order[places], -1)

    def sample(self, count: int) -> np.ndarray:
        """Rows of `count` items, or all, that a hash of their ids draws: a grown catalogue keeps most of them."""
        return np.argsort(slots_of(self.item_ids, MOST_SLOTS), kind="stable")[:count]

    def spread(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Take `count` of some rows, or all: the first of each category, the largest ones first; then the second."""
        numbers, sizes = np.unique(self._catalogue.category_of(rows), return_inverse=True, return_counts=True)[1:]
        turn = np.empty(len(rows), np.int64)  # how many of the category come before a row
        order = np.argsort(numbers, kind="stable")
        turn[order] = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return rows[np.lexsort((numbers, -sizes[numbers], turn))[:count]]

    def records(self, rows: np.ndarray) -> tf.data.Dataset:
        """The parsed records of some rows, one by one, as `read_items` gives them."""
        examples = tf.data.Dataset.from_generator(
            lambda: self._examples(rows), output_signature=tf.TensorSpec([], tf.string)
        )
        return examples.map(self._parse.one)

    def _read(self, rows: np.ndarray) -> Iterator[ShopItem]:
        for item in self.records(rows).as_numpy_iterator():
            title, category = (item[name].decode(errors="replace") for name in ("title", "category"))
            [item_id] = plain_ids(np.array([item["item_id"]], self.item_ids.dtype)).tolist()
            yield ShopItem(item_id, title, category, item["image"])

    def _examples(self, rows: np.ndarray) -> Iterator[bytes]:
        """Some at a time: of large images not all are held."""
        for start in range(0, len(rows), _READ_AT_ONCE):
            yield from self._catalogue.examples(rows[start : start + _READ_AT_ONCE])
