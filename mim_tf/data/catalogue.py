"""Random access to the shop's items while training: their records, and hard negatives drawn among their rows."""

from __future__ import annotations

import os
import posixpath
import struct
from collections.abc import Sequence
from typing import Self

import numpy as np
import pyarrow as pa

from mim_tf.data.catalogue_writer import CATALOGUE_FILE, FRAME_HEAD
from mim_tf.data.chosen_rows import unpack
from mim_tf.data.record_cache import record_path
from mim_tf.data.record_files import Folder, RecordFiles
from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN_ITEMS
from mim_tf.errors import DataError

_CATEGORY, _NEIGHBOURS = ("category_first", "category_last"), ("neighbours_first", "neighbours_last")


class Catalogue:
    """All items by row number; items of one category, and of one neighbour group, are ranges of rows.

    Nothing but the index is held, and that is mapped into memory: the examples are read from the item records. So any
    number of threads may use it at once.

    Args:
        folder: a local folder, what `prepare` wrote.

    Attributes:
        categories: the categories' names in order; a category's number is its place.

    Raises:
        DataError: the folder holds no catalogue.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = os.fspath(folder)
        table = _index(posixpath.join(self._folder, CATALOGUE_FILE))
        category, shard = (table[name].chunk(0) for name in ("category", "shard"))
        self.categories: list[str] = category.dictionary.to_pylist()
        self._category = category.indices.to_numpy()
        self._files = [record_path(self._folder, file) for file in shard.dictionary.to_pylist()]
        self._shard = shard.indices.to_numpy()
        self._item_id = table["item_id"].chunk(0)
        names = ("offset", "length", *_CATEGORY, *_NEIGHBOURS)
        self._columns = {name: table[name].chunk(0).to_numpy() for name in names}

    @classmethod
    def open(cls, folder: Folder, *, verify: bool = True) -> Self:
        """Check the item records and open their catalogue.

        Args:
            folder: a local folder, what `prepare` wrote.
            verify: read the item records once, so that damage shows now, with the name of the file, and not hours
                later.

        Raises:
            DataError: the folder holds no catalogue, or a file is missing, truncated or corrupt.
        """
        files = RecordFiles.open(folder, [TRAIN_ITEMS, HELD_OUT_ITEMS], context=None, verify=verify)
        catalogue = cls(folder)
        if len(catalogue) != files.records:
            raise DataError(
                f"`{CATALOGUE_FILE}` must list the {files.records} items of the records: prepare again. "
                f"Received: {len(catalogue)} in {folder}."
            )
        return catalogue

    def __len__(self) -> int:
        """How many items there are."""
        return len(self._shard)

    def item_ids(self) -> np.ndarray:
        """The ids of all items by row, `[items]` int64, or bytes as objects."""
        ids = self._item_id
        return (ids if pa.types.is_integer(ids.type) else ids.cast(pa.binary())).to_numpy(zero_copy_only=False)

    def category_of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the categories of rows `[n]`, int64."""
        return self._category[rows].astype(np.int64)

    def examples(self, rows: np.ndarray) -> list[bytes]:
        """Read the serialized examples of rows `[n]`.

        Raises:
            DataError: a file of records is missing or not as it was written.
        """
        found = [b""] * len(rows)
        for shard in np.unique(self._shard[rows]):
            path = self._files[shard]
            wanted = np.flatnonzero(self._shard[rows] == shard)
            try:
                with open(path, "rb") as file:
                    for place in wanted:
                        found[place] = self._read(file.fileno(), path, int(rows[place]))
            except OSError as error:
                raise DataError(f"`{path}` must be readable. Received: {error.strerror}.") from error
        return found

    def _read(self, descriptor: int, path: str, row: int) -> bytes:
        """One example, whose place and length are those of the frame around it, or else the file is another."""
        offset, length = (int(self._columns[name][row]) for name in ("offset", "length"))
        frame = os.pread(descriptor, FRAME_HEAD + length, offset - FRAME_HEAD)
        if len(frame) < FRAME_HEAD + length or struct.unpack_from("<Q", frame) != (length,):
            raise DataError(
                f"`{path}` must hold {length} bytes of an item at {offset}, as `{CATALOGUE_FILE}` says: prepare again. "
                "Received: other bytes."
            )
        return frame[FRAME_HEAD:]

    def negatives(
        self, item_rows: np.ndarray, chosen: Sequence[bytes], random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a hard negative for each item, exactly uniformly among those allowed.

        Allowed are the items of its category but for itself and what its user chose; where there are none, those of its
        neighbour group; then those of the catalogue. Who chose everything gets any item but the positive.

        Args:
            item_rows: the positives, `[n]` int64; the catalogue has at least two items.
            chosen: for each one the rows that its user chose, ascending, none twice, packed as records hold them.
            random: draws the numbers.

        Returns:
            The rows of the negatives, `[n]` int64, and whether each is a fallback, not from the category, `[n]` bool.
        """
        excluded = _Excluded(item_rows, chosen, len(self))
        first, last = np.zeros_like(item_rows), np.full_like(item_rows, len(self) - 1)
        allowed = excluded.allowed(first, last)
        for pool in (_NEIGHBOURS, _CATEGORY):  # the narrowest pool that has an item wins, so it comes last
            pool_first, pool_last = (self._columns[name][item_rows] for name in pool)
            pool_allowed = excluded.allowed(pool_first, pool_last)
            has_some = pool_allowed > 0
            first, last = np.where(has_some, pool_first, first), np.where(has_some, pool_last, last)
            allowed = np.where(has_some, pool_allowed, allowed)
        nothing_left = allowed == 0
        number = random.integers(np.where(nothing_left, len(self) - 1, allowed))
        other = number + (number >= item_rows)
        return np.where(nothing_left, other, excluded.find(number, first, last)), ~has_some


def _index(path: str) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(path)).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"`{path}` must be as `prepare` wrote it: prepare again. Received: {error}") from error


class _Excluded:
    """The rows that each of n positives must not get: itself and what its user chose.

    All of them together are one ascending array of `positive * rows + row`, so that a search in it serves all positives
    at once: no loop, and no copy of a category.
    """

    def __init__(self, item_rows: np.ndarray, chosen: Sequence[bytes], rows: int) -> None:
        self._base = np.arange(len(item_rows)) * rows
        own = self._base + item_rows
        chosen_rows, lengths = unpack(chosen)
        keys = chosen_rows + np.repeat(self._base, lengths)
        at = np.searchsorted(keys, own)
        missing = np.append(keys, -1)[at] != own
        self._keys = np.insert(keys, at[missing], own[missing])

    def allowed(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """How many rows of the ranges `first` to `last`, inclusive, are left."""
        begin, end = self._within(first, last)
        return last - first + 1 - (end - begin)

    def find(self, number: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The rows that are left in the ranges have numbers from 0; gives those of the numbers.

        Before row `number + first + k` lie `k` excluded ones. The k-th excluded row `e_k` of a range lies before it iff
        `e_k - k <= number + first`, and `e_k - k` ascends, over all positives too.
        """
        begin, end = self._within(first, last)
        ascending = self._keys - np.arange(len(self._keys))
        passed = np.searchsorted(ascending, self._base + first + number - begin, side="right")
        return first + number + np.clip(passed, begin, end) - begin

    def _within(self, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        begin = np.searchsorted(self._keys, self._base + first)
        return begin, np.searchsorted(self._keys, self._base + last, side="right")
