"""Items' images and titles by their ids, read from the item records inside a graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.catalogue import Catalogue
from mim_tf.data.record_files import Folder
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema


class FoundItems(NamedTuple):
    """The items of some ids.

    Attributes:
        images: `[found]` string, encoded bytes.
        titles: `[found]` string.
        places: `[ids]` int64, for each id which of those it is; `found`, one too many, where there is no such item.
    """

    images: tf.Tensor
    titles: tf.Tensor
    places: tf.Tensor


class ItemsById:
    """Reads items of the records by their ids.

    An index of all ids is held, ordered, with 16 bytes per item where they are int64. The items themselves are read
    from the files, in Python: it works wherever the process that traced the graph runs it.

    Args:
        folder: what `prepare` wrote.
        verify: read the item records once, so that damage shows now, with the name of the file, and not hours later.

    Call arguments:
        item_ids: `[ids]` of the records' type, int64 or string. Any id may be unknown; -1 and "" are.

    Returns:
        `FoundItems`.

    Raises:
        DataError: the folder holds no catalogue, or a file is missing, truncated or corrupt.
    """

    def __init__(self, folder: Folder, *, verify: bool = True) -> None:
        self._catalogue = Catalogue.open(folder, verify=verify)
        self._parse = RecordParser(RecordSchema.load(folder), TRAIN_ITEMS)
        item_ids = self._catalogue.item_ids()
        self._rows = np.argsort(item_ids, kind="stable")
        self._item_ids = item_ids[self._rows]

    def __call__(self, item_ids: tf.Tensor) -> FoundItems:
        """Read the items that exist, each id's own."""
        examples, places = tf.numpy_function(self._read, [item_ids], [tf.string, tf.int64])
        items = self._parse(tf.ensure_shape(examples, [None]))
        return FoundItems(items["image"], items["title"], tf.ensure_shape(places, item_ids.shape))

    def _read(self, item_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nearest = np.minimum(np.searchsorted(self._item_ids, item_ids), len(self._item_ids) - 1)
        is_item = self._item_ids[nearest] == item_ids
        rows = self._rows[nearest[is_item]]
        places = np.where(is_item, np.cumsum(is_item) - 1, len(rows))
        # An array of bytes objects: one of fixed-width bytes would lose the zeros at their ends.
        return np.array(self._catalogue.examples(rows), object), places
