"""The records of the store, one per row, and those that an upsert writes."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mim_tf.representation.reserved_ids import RESERVED_IDS
from mim_tf.representation.slots import assigned_rows, slots_of

ID_TYPES = {"int64": pa.int64(), "string": pa.string()}
IN_USE = "item_id IS NOT NULL"
TIME = pa.timestamp("us", "UTC")
_SLOTS, _IDENTITY = b"slots", b"store"  # keys of the schema's metadata
_FEW_VALUES = 10_000  # a longer list in a condition takes longer than reading all records


def record_schema(id_type: str, dim: int) -> pa.Schema:
    """Columns of the store. Where a row is not in use all are null but `row`, `change` and `updated_at`."""
    return pa.schema(
        {
            "item_id": ID_TYPES[id_type],
            "row": pa.int64(),
            "embedding": pa.list_(pa.float16(), dim),
            "encoder": pa.string(),
            "content": pa.string(),  # digest of what the embedding was made from; null if it was not given
            "event_time": TIME,  # when the shop last said what the item is; null if that was not given
            "change": pa.int64(),  # number of the change by which the row got this embedding, or was let go
            "updated_at": TIME,
        }
    )


def new_store_schema(id_type: str, dim: int, slots: int) -> pa.Schema:
    """The schema of a new store, which carries its number of slots and a name that no other store has."""
    return record_schema(id_type, dim).with_metadata({_SLOTS: str(slots), _IDENTITY: uuid.uuid4().hex})


def slots_in(schema: pa.Schema) -> int:
    """How many slots the store with this schema deals its items to."""
    return int(schema.metadata[_SLOTS])


def identity_in(schema: pa.Schema) -> str:
    """The name of the store with this schema, 32 hex digits."""
    return str(schema.metadata[_IDENTITY].decode())


class Upsert(NamedTuple):
    """Embeddings to be stored, each item once."""

    item_ids: pa.Array  # [items]
    embeddings: np.ndarray  # [items, dim] float16
    encoder: str
    contents: pa.Array  # [items] string
    event_times: pa.Array  # [items] timestamp

    @classmethod
    def checked(
        cls,
        schema: pa.Schema,
        item_ids: np.ndarray,
        embeddings: np.ndarray,
        encoder: str,
        contents: np.ndarray | None,
        event_times: np.ndarray | None,
    ) -> Upsert:
        """An upsert that fits a store with `schema`; of an item given twice the one with the latest time, or the last.

        Raises:
            ValueError: shapes that do not fit, an id that is missing, or a value that is not finite in float16.
        """
        expected = (len(item_ids), schema.field("embedding").type.list_size)
        if embeddings.shape != expected:
            raise ValueError(f"`embeddings` must have the shape {expected}. Received: {embeddings.shape}.")
        for name, given in (("contents", contents), ("event_times", event_times)):
            if given is not None and len(given) != len(item_ids):
                raise ValueError(f"`{name}` must have the length {len(item_ids)}. Received: {len(given)}.")
        with np.errstate(over="ignore"):  # told below, by item
            halves = embeddings.astype(np.float16)
        finite = np.isfinite(halves).all(axis=1)
        if not finite.all():
            bad = item_ids[int(np.flatnonzero(~finite)[0])]
            raise ValueError(f"`embeddings` must be finite in float16. Received: item {bad!r} with another value.")
        ids = pa.array(item_ids, schema.field("item_id").type)
        if ids.null_count:
            raise ValueError(f"`item_ids` must not be null. Received: {ids.null_count} that are.")
        for reserved in ("",) if ids.type == pa.string() else RESERVED_IDS:  # no table would take them
            if pc.index(ids, reserved).as_py() >= 0:
                raise ValueError(f"`item_ids` must not hold the reserved id {reserved!r}.")
        digests = pa.nulls(len(ids), pa.string()) if contents is None else pa.array(contents, pa.string())
        times = pa.nulls(len(ids), TIME) if event_times is None else _instants(event_times)
        last = _last_places(ids, times)
        return cls(ids, halves, encoder, digests, times).take(last)

    def take(self, places: np.ndarray) -> Upsert:
        """Some of the items."""
        arrays = (self.contents.take(places), self.event_times.take(places))
        return Upsert(self.item_ids.take(places), self.embeddings[places], self.encoder, *arrays)


def _instants(event_times: np.ndarray) -> pa.Array:
    """`[items]` timestamps of datetime64 in UTC; NaT is null."""
    return pa.array(event_times.astype("datetime64[us]")).cast(TIME)


def _last_places(ids: pa.Array, times: pa.Array) -> np.ndarray:
    """Where each id occurs with its latest time, or last among equal or unknown ones, in ascending order."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return np.arange(len(ids))
    # Earliest first; stable, so that what comes later stays later. An item without some of its times goes by place.
    untimed = pc.is_in(ids, value_set=ids.filter(times.is_null())).to_numpy(zero_copy_only=False)
    seconds = np.where(untimed, 0, pc.fill_null(times.cast(pa.int64()), 0).to_numpy())
    order = np.argsort(seconds, kind="stable")
    _, from_the_end = np.unique(ids.to_numpy(zero_copy_only=False)[order[::-1]], return_index=True)
    return np.sort(order[len(ids) - 1 - from_the_end])


def newest_change(dataset: lance.LanceDataset) -> int:
    """Number of the latest change that a version holds; 0 where there is none. Numbers rise, with gaps."""
    return int(pc.max(dataset.to_table(columns=["change"])["change"]).as_py() or 0)


def changed_records(base: lance.LanceDataset, oldest: int, upsert: Upsert) -> pa.Table:
    """The records in which the next version differs from `base`.

    An item whose event is older than the stored one's stays as it is.

    Args:
        base: a version of the store.
        oldest: version that can still be read.
        upsert: checked.
    """
    known = base.to_table(columns=["item_id", "row", "change"])
    rows, changes = known["row"].to_numpy(), known["change"].to_numpy()
    places = places_of(known["item_id"], upsert.item_ids)
    held = np.flatnonzero(places >= 0)
    again, stored = upsert.take(held), _stored_in(base, rows[places[held]])
    current = ~pc.fill_null(pc.less(again.event_times, stored["event_time"]), False).to_numpy()
    same = (matrix(stored["embedding"]).view(np.uint16) == again.embeddings.view(np.uint16)).all(axis=1)
    relabelled = _differ(again.contents, stored["content"]) | _differ(again.event_times, stored["event_time"])

    differs = np.full(len(upsert.item_ids), True)
    differs[held[same | ~current]] = False
    new, kept, let_go = upsert.take(np.flatnonzero(differs)), same & current & relabelled, held[~same & current]
    kept_places = places[held[kept]]
    change, schema = base.version + 1, base.schema  # above all numbers that `base` holds
    return pa.concat_tables(
        [
            _in_use(schema, new, _rows_for(new, known, oldest, base), np.full(len(new.item_ids), change)),
            _in_use(schema, _relabelled(again, stored, kept), rows[kept_places], changes[kept_places]),
            _not_in_use(schema, rows[places[let_go]], change),
        ]
    )


def _rows_for(new: Upsert, known: pa.Table, oldest: int, base: lance.LanceDataset) -> np.ndarray:
    """Rows `[items]` for items that get others than they have, or their first ones."""
    rows, slots = known["row"].to_numpy(), slots_in(base.schema)
    unused = known["item_id"].is_null().to_numpy()
    free = np.sort(rows[unused & let_go_by(oldest, base.version, known["change"].to_numpy())])
    item_slots = slots_of(new.item_ids.to_numpy(zero_copy_only=False), slots)
    return assigned_rows(item_slots, free, used=np.bincount(rows % slots, minlength=slots))  # a row has one record


def _relabelled(again: Upsert, stored: pa.Table, kept: np.ndarray) -> Upsert:
    """Known embeddings with the labels that are given, and else the stored ones."""
    contents, times = (
        pc.coalesce(given, was.combine_chunks())
        for given, was in ((again.contents, stored["content"]), (again.event_times, stored["event_time"]))
    )
    return again._replace(contents=contents, event_times=times).take(np.flatnonzero(kept))


def _differ(given: pa.Array, stored: pa.ChunkedArray) -> np.ndarray:
    """Which of the given values are not the stored ones; what was not given differs from nothing."""
    return pc.fill_null(pc.not_equal(given, stored), given.is_valid()).to_numpy()


def let_go_by(oldest: int, newest: int, changes: np.ndarray) -> np.ndarray:
    """Which unused rows no version from `oldest` on has in use, `[records]` bool.

    A change's version is at least its number, but may be above it (`commit_records`). Those before another change are
    of lower versions than that one's number.
    """
    if oldest == newest:
        return np.full(len(changes), True)
    return changes < changes[changes <= oldest].max(initial=0)


def _stored_in(base: lance.LanceDataset, rows: np.ndarray) -> pa.Table:
    """Embeddings and labels in some rows, all in use. Lance's `take` is slow where records were deleted."""
    columns, wanted = ["row", "embedding", "content", "event_time"], pa.array(rows, pa.int64())
    table = base.to_table(columns=columns, filter=one_of("row", wanted, IN_USE))
    return table.take(places_of(table["row"], wanted))


def one_of(column: str, values: pa.Array, otherwise: str) -> str:
    """The condition that a column has one of some values; another one where they are too many to be worth it."""
    if len(values) == 0:
        return "false"
    if len(values) > _FEW_VALUES:
        return otherwise
    texts = values.to_pylist()
    if values.type == pa.string():
        texts = ["'" + text.replace("'", "''") + "'" for text in texts]
    return f"{column} IN ({', '.join(map(str, texts))})"


def places_of(known: pa.ChunkedArray, item_ids: pa.Array) -> np.ndarray:
    """Where in `known` each item is; -1 if nowhere."""
    wanted = pc.fill_null(pc.index_in(known, value_set=item_ids), -1).to_numpy()
    found = np.flatnonzero(wanted >= 0)
    places = np.full(len(item_ids), -1)
    places[wanted[found]] = found
    return places


def matrix(embeddings: pa.ChunkedArray) -> np.ndarray:
    """`[items, dim]` of a column without nulls."""
    return embeddings.combine_chunks().flatten().to_numpy().reshape(-1, embeddings.type.list_size)


def _in_use(schema: pa.Schema, upsert: Upsert, rows: np.ndarray, changes: np.ndarray) -> pa.Table:
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(upsert.embeddings.ravel()), upsert.embeddings.shape[1])
    items = len(upsert.item_ids)
    labels = (upsert.contents, upsert.event_times)
    columns = [upsert.item_ids, rows, embeddings, pa.repeat(upsert.encoder, items), *labels, changes, _now(items)]
    return pa.table(columns, schema=schema)


def _not_in_use(schema: pa.Schema, rows: np.ndarray, change: int) -> pa.Table:
    given = {"row": rows, "change": np.full(len(rows), change), "updated_at": _now(len(rows))}
    columns = [given.get(field.name, pa.nulls(len(rows), field.type)) for field in schema]
    return pa.table(columns, schema=schema)


def _now(records: int) -> pa.Array:
    return pa.repeat(pa.scalar(datetime.now(UTC), TIME), records)
