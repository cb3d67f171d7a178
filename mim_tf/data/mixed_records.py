"""Training records of several runs, read as one: a new day's, and some of earlier days'."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mim_tf.data.record_schema import RecordSchema, Shard
from mim_tf.errors import DataError

_AGREE = ("item_id", "user_id", "history_length", "features", "query_dim")


@dataclass(frozen=True)
class MixedRecords:
    """A folder of records, and others whose files are read beside its own.

    Attributes:
        folder: what `prepare` wrote; its schema holds for all.
        replayed: by folder of the others, the share of their files that is read, rounded up. Rows lie in their files
            by a hash, so a file is a sample of stretches: a share costs what it reads, and its rows are known.
        seed: draws the files.
    """

    folder: str | os.PathLike[str]
    replayed: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def files(self, name: str) -> list[tuple[str, Shard]]:
        """The files of a split, `<kind>/<split>`, each with its folder.

        They follow one another day by day: who reads every n-th has some of each day that has n or more.

        Raises:
            DataError: a folder holds no records, or records with other fields.
        """
        own = os.fspath(self.folder)
        schema = RecordSchema.load(own)
        found = [(own, shard) for shard in schema.shards.get(name, [])]
        for number, (folder, share) in enumerate(self.replayed.items()):
            other = RecordSchema.load(folder)
            _check(schema, other, folder)
            shards = other.shards.get(name, [])
            count = int(np.ceil(share * len(shards)))
            drawn = np.random.default_rng([self.seed, number]).choice(len(shards), count, replace=False)
            found += [(folder, shards[place]) for place in sorted(drawn)]
        return found


def _check(schema: RecordSchema, other: RecordSchema, folder: str) -> None:
    differences = [
        f"{name} is {getattr(other, name)}, not {getattr(schema, name)}"
        for name in _AGREE
        if getattr(other, name) != getattr(schema, name)
    ]
    if differences:
        raise DataError(
            "`rank.replay` must be runs whose impressions have the same fields and history length. Received: "
            f"{folder}, where {'; '.join(differences)}."
        )
