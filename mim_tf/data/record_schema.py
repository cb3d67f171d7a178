"""What the training records hold: the fields of each kind, and the `schema.json` that lies beside the shards."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import tensorflow as tf

from mim_tf.errors import DataError

SCHEMA_FILE = "schema.json"
TRAIN_ITEMS, HELD_OUT_ITEMS = "items/train", "items/held_out"
PAIRS, VALIDATION_PAIRS = "pairs/train", "pairs/validation"
TRAIN, VALIDATION = "impressions/train", "impressions/validation"
IMPRESSION_SPLITS: Mapping[str, str] = {"train": TRAIN, "validation": VALIDATION}
HISTORY_PREFIX = "history_"
"""Fields of behaviours begin so."""
ITEM_PREFIX = "item_"
"""Fields of the target that its features become; `history_` and the same name are the behaviours'."""
ITEM_AGE = "item_age"
"""Seconds between the first appearance of an impression's item and the impression, at least 0."""
QUERY_EMBEDDING = "query_embedding"
"""`[query_dim]` float32 of an impression; zeros where there was no query."""
SESSION, HISTORY_END = "session", "history_end"
"""Per impression, in records of impressions: the number of its session in the record, from 0, ascending; and how many
of the record's behaviours lie before it, of which the latest are its history."""
FIELDS: Mapping[str, Mapping[str, str]] = {
    "items": {"item_id": "item_id", "title": "string", "category": "string", "image": "string"},
    "pairs": {
        "query_image": "string",
        "query_item_id": "item_id",
        "item_id": "item_id",
        "image": "string",
        "title": "string",
        "item_row": "int64",
        "chosen_rows": "string",
    },
    "impressions": {
        "user_id": "user_id",
        "item_id": "item_id",
        "category": "string",
        "timestamp": "int64",
        "label": "int64",
        "history_item_id": "item_id",
        "history_category": "string",
        "history_timestamp": "int64",
    },
}
"""Per kind of record its fields and their types; an id's type is the shop's, int64 or string.

Of a pair, `item_row` is the item's row in the catalogue, and `chosen_rows` are the ascending rows of all that its user
chose, as little-endian int64. These are bytes because records hold one value per field, so that examples make batches
without padding, however much one user chose.

A record of impressions holds several of one user: one `user_id`, as many values of the fields of behaviours as all of
its impressions need, and else a value per impression, of `SESSION` and `HISTORY_END` too.
"""


@dataclass(frozen=True)
class Shard:
    """One TFRecord file.

    Attributes:
        file: its path in the folder.
        records: in it.
        bytes: its size.
        impressions: in its records, if these are of impressions.
        sessions: how many sessions it has of each size, in impressions; the sizes are text, as JSON has them.
    """

    file: str
    records: int
    bytes: int
    impressions: int = 0
    sessions: dict[str, int] = field(default_factory=dict)

    @property
    def examples(self) -> int:
        """What is trained on: the impressions, or the records of other kinds."""
        return self.impressions or self.records


@dataclass(frozen=True)
class RecordSchema:
    """What a folder of training records holds.

    Attributes:
        item_id: "int64" or "string".
        user_id: "int64" or "string"; None without impressions.
        history_length: behaviours per impression, at most; None without impressions.
        counts: per `<kind>/<split>` its records, or its impressions.
        shards: the files per `<kind>/<split>`; none where there are no records.
        features: fields of impressions beside those that all have, and their types: "int64", "float32" or "string".
        query_dim: the length of `query_embedding`; None where impressions have none.
    """

    item_id: str
    user_id: str | None
    history_length: int | None
    counts: dict[str, int]
    shards: dict[str, list[Shard]]
    features: dict[str, str] = field(default_factory=dict)
    query_dim: int | None = None

    def fields(self, kind: str) -> dict[str, tf.DType]:
        """The fields of one kind of record and what they are read as."""
        types = {"item_id": self.item_id, "user_id": self.user_id}
        fields = dict(FIELDS[kind])
        if kind == "impressions":
            fields |= self.features | ({QUERY_EMBEDDING: "float32"} if self.query_dim else {})
        return {name: tf.as_dtype(types.get(of) or of) for name, of in fields.items()}

    def save(self, folder: str) -> None:
        """Write it into a folder."""
        with tf.io.gfile.GFile(posixpath.join(folder, SCHEMA_FILE), "w") as file:
            file.write(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> RecordSchema:
        """Read it from a folder.

        Raises:
            DataError: the folder holds no training records.
        """
        path = posixpath.join(os.fspath(folder), SCHEMA_FILE)
        try:
            with tf.io.gfile.GFile(path, "r") as file:
                held = json.loads(file.read())
            shards = {name: [Shard(**shard) for shard in of] for name, of in held.pop("shards").items()}
            return cls(shards=shards, **held)
        except tf.errors.NotFoundError as error:
            raise DataError(f"`folder` must hold training records made by `prepare`. Received: {folder}.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"`{SCHEMA_FILE}` must be as `prepare` wrote it. Received: {path}: {error}") from error
