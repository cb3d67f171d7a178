"""Embeddings on their way to the store: one Parquet file for each file of item records."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


@dataclass(frozen=True)
class EmbeddedParts:
    """A folder of parts, each whole or not there. Imports no TensorFlow: the worker that writes one need not have it.

    Columns, one row per item that was embedded, in the order of the records: `position` (int64, number of the record in
    its file), `item_id`, `content` (digest) and `embedding` (`[dim]` float32).

    Attributes:
        folder: that all executors see under this path.
        names: of the parts, in the order in which the files of records are read; what is made of something else has
            another name.
        records: how many each of those files has.
        schema: of a part.
    """

    folder: Path
    names: Sequence[str]
    records: Sequence[int]
    schema: pa.Schema

    def begin(self) -> None:
        """Make the folder, and take away what killed attempts left in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for aside in self.folder.glob("*.partial"):
            aside.unlink()

    def missing(self) -> list[int]:
        """The numbers of the parts that are not there."""
        there = set(os.listdir(self.folder))
        return [number for number, name in enumerate(self.names) if name not in there]

    def write(self, number: int, batches: Iterable[pa.RecordBatch], attempt: str) -> int:
        """Write a part aside and rename it: at any moment it is absent or whole, whoever else writes the same one.

        Args:
            number: of the part.
            batches: its items, perhaps none.
            attempt: a name that no other attempt at it has.

        Returns:
            How many items there are.

        Raises:
            OSError: the disk is full, or fails otherwise.
        """
        path = self.folder / self.names[number]
        aside, items = path.with_name(f"{path.name}.{attempt}.partial"), 0
        with pq.ParquetWriter(aside, self.schema) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(self.schema))
                items += len(batch)
        os.replace(aside, path)
        return items

    def in_order(self, at_once: int) -> Iterator[pa.Table]:
        """All rows in the order in which `at_once` files, read a record in turn, give their records.

        As many parts are held at once.
        """
        starts = first_places(self.records, at_once)
        pending = self._placed(0, starts[0], at_once)
        for number in range(1, len(starts)):
            before = pc.less(pending["place"], starts[number])  # files begin in their order
            yield pending.filter(before).drop_columns(["place"])
            opened = self._placed(number, starts[number], at_once)
            pending = pa.concat_tables([pending.filter(pc.invert(before)), opened]).sort_by("place")
        yield pending.drop_columns(["place"])

    def remove(self) -> None:
        """Take everything away."""
        shutil.rmtree(self.folder)

    def _placed(self, number: int, first: int, step: int) -> pa.Table:
        part = pq.read_table(self.folder / self.names[number])
        return part.append_column("place", pc.add(pc.multiply(part["position"], step), first))


def first_places(records: Sequence[int], at_once: int) -> list[int]:
    """Where each file begins in the order of reading, if `at_once` readers take a record in turn.

    Turns are numbered, so record `n` of a file has the place `first + n * at_once`. A reader's turn after its file's
    last record finds the end, and its next one begins the next file.

    Args:
        records: how many each file has.
        at_once: readers, a file each.
    """
    free = list(range(at_once))  # the turn in which each reader begins its next file
    places = []
    for count in records:
        reader = free.index(min(free))
        places.append(free[reader])
        free[reader] += (count + 1) * at_once
    return places
