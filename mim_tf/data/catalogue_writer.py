"""The catalogue index: all items in one order, and where in the record files each one lies."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mim_tf.data.hashing import hashed
from mim_tf.data.numbering import numbered
from mim_tf.data.record_schema import Shard

CATALOGUE_FILE = "catalogue.arrow"
_DIGEST = "__digest"
FRAME_HEAD, FRAME_TAIL = 12, 4
"""Bytes around an example in a TFRecord file: its length (8) and a checksum of that (4), and its own checksum (4)."""


def in_catalogue_order(items: ir.Table, seed: int) -> ir.Table:
    """Number the items by broader category, category and hash of the id, so that those of a kind lie side by side.

    A category as a whole goes where most of its items go, of equals to the first by name: broader categories need not
    contain whole categories (trousers are for women and for men), but a category has to be one range of rows.

    Args:
        items: with `item_id, category`, and `neighbours`, the broader category, if the shop has one.
        seed: another seed gives another order within the categories.

    Returns:
        The items with `item_row`, from 0.
    """
    if "neighbours" in items.columns:
        items = items.drop("neighbours").inner_join(_broader(items), "category")
    kinds = [name for name in ("neighbours", "category") if name in items.columns]
    items = items.mutate(**{_DIGEST: hashed(seed, items.item_id)})
    return numbered(items, "item_row", _DIGEST, first_by=kinds).drop(_DIGEST)


def _broader(items: ir.Table) -> ir.Table:
    """The broader category of most items of each category: `category, neighbours`."""
    votes = items.group_by("category", "neighbours").aggregate(votes=items.count())
    most_first = ibis.window(group_by="category", order_by=[ibis.desc("votes"), "neighbours"])
    votes = votes.mutate(place=ibis.row_number().over(most_first))
    return votes.filter(votes.place == 0).select("category", "neighbours")


def write_catalogue(folder: Path, rows: pa.Table, train: Sequence[Shard], held_out: Sequence[Shard]) -> None:
    """Write the index beside the records, as one Arrow IPC file whose columns readers map into memory.

    Columns, one row per item: `item_id`; `shard` (file name), `offset` and `length` (bytes) of its serialized example;
    `category` (name, numbered in the order of names); `category_first`, `category_last`, `neighbours_first` and
    `neighbours_last`, the rows, inclusive, that are of its category and of its neighbour group. Without broader
    categories the neighbours of a category are the ones before and after it by name, and it belongs to them itself.

    Args:
        folder: the folder of all records.
        rows: `item_id, category, held_out, position` (the record's number in its split), perhaps `neighbours`, in the
            order of `item_row`.
        train: files of the items that train, which hold record `n` in file `n % len(train)`.
        held_out: those of the held-out items, likewise.
    """
    names, numbers = _numbered(rows["category"])
    starts, ends, group = _runs(numbers)
    columns = {"category_first": starts[group], "category_last": ends[group]}
    if "neighbours" in rows.column_names:
        starts, ends, group = _runs(_numbered(rows["neighbours"])[1])
        columns |= {"neighbours_first": starts[group], "neighbours_last": ends[group]}
    else:
        before, after = np.maximum(group - 1, 0), np.minimum(group + 1, len(starts) - 1)
        columns |= {"neighbours_first": starts[before], "neighbours_last": ends[after]}
    shard, offset, length = _places(folder, rows, train, held_out)
    files = [file.file for file in (*train, *held_out)]
    table = pa.table(
        {
            "item_id": rows["item_id"],
            "shard": pa.DictionaryArray.from_arrays(shard.astype(np.int32), files),
            "offset": offset,
            "length": length,
            "category": pa.DictionaryArray.from_arrays(numbers.astype(np.int32), names),
            **columns,
        }
    )
    with pa.ipc.new_file(folder / CATALOGUE_FILE, table.schema) as writer:
        # One batch: only then is a column one piece of memory.
        writer.write_table(table.combine_chunks(), max_chunksize=max(len(table), 1))


def _numbered(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The distinct values in order, and for each row the number of its own."""
    names = sorted(pc.unique(column).to_pylist())
    return names, pc.index_in(column, pa.array(names, column.type)).to_numpy().astype(np.int64)


def _runs(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last row of each run of equal numbers, and the run of each row."""
    is_first = np.diff(numbers, prepend=numbers[0] - 1) != 0
    starts = np.flatnonzero(is_first)
    return starts, np.append(starts[1:], len(numbers)) - 1, np.cumsum(is_first) - 1


def _places(
    folder: Path, rows: pa.Table, train: Sequence[Shard], held_out: Sequence[Shard]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row the number of its file, and where in it its example begins and how long it is, in bytes."""
    spans = [_spans(folder / file.file) for file in (*train, *held_out)]
    records_before = np.cumsum([0, *(len(of_file) for of_file in spans[:-1])])
    position = rows["position"].to_numpy()
    is_out = rows["held_out"].to_numpy()
    files_of_split = np.where(is_out, len(held_out), len(train))
    shard = position % files_of_split + np.where(is_out, len(train), 0)
    offset, length = np.concatenate(spans)[records_before[shard] + position // files_of_split].T
    return shard, offset, length


def _spans(path: Path) -> np.ndarray:
    """Where each example of a TFRecord file begins, and its length: `[records, 2]`, bytes."""
    spans, size = [], path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            (length,) = struct.unpack("<Q", file.read(8))
            begin = file.tell() - 8 + FRAME_HEAD
            spans.append((begin, length))
            file.seek(begin + length + FRAME_TAIL)
    return np.array(spans, np.int64)
