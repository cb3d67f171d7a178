"""The records of the store, one per row, and those that an upsert writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mim_tf.representation.item_keys import RESERVED_IDS

ID_TYPES = {"int64": pa.int64(), "string": pa.string()}
IN_USE = "item_id IS NOT NULL"
_FEW_ROWS = 10_000  # a longer list in a condition takes longer than reading all records


def record_schema(id_type: str, dim: int) -> pa.Schema:
    """Columns of the store. Where a row is not in use all are null but `row`, `change` and `updated_at`."""
    return pa.schema(
        {
            "item_id": ID_TYPES[id_type],
            "row": pa.int64(),
            "embedding": pa.list_(pa.float16(), dim),
            "encoder": pa.string(),
            "content": pa.string(),  # digest of what the embedding was made from; null if it was not given
            "change": pa.int64(),  # number of the change by which the row got this embedding, or was let go
            "updated_at": pa.timestamp("us", "UTC"),
        }
    )


class Upsert(NamedTuple):
    """Embeddings to be stored, each item once."""

    item_ids: pa.Array  # [items]
    embeddings: np.ndarray  # [items, dim] float16
    encoder: str
    contents: pa.Array  # [items] string

    @classmethod
    def checked(
        cls, schema: pa.Schema, item_ids: np.ndarray, embeddings: np.ndarray, encoder: str, contents: np.ndarray | None
    ) -> Upsert:
        """An upsert that fits a store with `schema`; of an item given twice, the last.

        Raises:
            ValueError: shapes that do not fit, an id that is missing, or a value that is not finite in float16.
        """
        expected = (len(item_ids), schema.field("embedding").type.list_size)
        if embeddings.shape != expected:
            raise ValueError(f"`embeddings` must have the shape {expected}. Received: {embeddings.shape}.")
        if contents is not None and len(contents) != len(item_ids):
            raise ValueError(f"`contents` must have the length {len(item_ids)}. Received: {len(contents)}.")
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
        last = _last_places(ids)
        return cls(ids.take(last), halves[last], encoder, digests.take(last))


def _last_places(ids: pa.Array) -> np.ndarray:
    """Where each id occurs last, in ascending order."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return np.arange(len(ids))
    _, from_the_end = np.unique(ids.to_numpy(zero_copy_only=False)[::-1], return_index=True)
    return np.sort(len(ids) - 1 - from_the_end)


def newest_change(dataset: lance.LanceDataset) -> int:
    """Number of the latest change that a version holds; 0 where there is none. Numbers rise, with gaps."""
    return int(pc.max(dataset.to_table(columns=["change"])["change"]).as_py() or 0)


def changed_records(base: lance.LanceDataset, oldest: int, upsert: Upsert) -> pa.Table:
    """The records in which the next version differs from `base`.

    Args:
        base: a version of the store.
        oldest: version that can still be read.
        upsert: checked.
    """
    known = base.to_table(columns=["item_id", "row", "change"])
    places = places_of(known["item_id"], upsert.item_ids)
    held = np.flatnonzero(places >= 0)
    rows, changes = known["row"].to_numpy(), known["change"].to_numpy()
    stored = _stored_in(base, rows[places[held]])
    same = (matrix(stored["embedding"]).view(np.uint16) == upsert.embeddings[held].view(np.uint16)).all(axis=1)
    given = upsert.contents.take(held)
    relabelled = pc.fill_null(pc.not_equal(given, stored["content"]), given.is_valid()).to_numpy() & same

    differs = np.full(len(upsert.item_ids), True)
    differs[held[same]] = False
    new = np.flatnonzero(differs)
    let_go = rows[places[held[~same]]]
    kept = held[relabelled]
    unused = known["item_id"].is_null().to_numpy()
    free = np.sort(rows[unused & _let_go_by(oldest, base.version, changes)])
    taken = np.concatenate([free, len(rows) + np.arange(len(new))])[: len(new)]  # each row has one record
    change, schema = base.version + 1, base.schema  # above all numbers that `base` holds
    return pa.concat_tables(
        [
            _in_use(schema, upsert, new, taken, np.full(len(new), change)),
            _in_use(schema, upsert, kept, rows[places[kept]], changes[places[kept]]),
            _not_in_use(schema, let_go, change),
        ]
    )


def _let_go_by(oldest: int, newest: int, changes: np.ndarray) -> np.ndarray:
    """Which unused rows no version from `oldest` on has in use, `[records]` bool.

    A change's version is at least its number, but may be above it (`commit_records`). Those before another change are
    of lower versions than that one's number.
    """
    if oldest == newest:
        return np.full(len(changes), True)
    return changes < changes[changes <= oldest].max(initial=0)


def _stored_in(base: lance.LanceDataset, rows: np.ndarray) -> pa.Table:
    """Embeddings and digests in some rows, all in use. Lance's `take` is slow where records were deleted."""
    if len(rows) == 0:
        condition = "false"
    elif len(rows) <= _FEW_ROWS:
        condition = f"row IN ({', '.join(map(str, rows))})"
    else:
        condition = IN_USE
    table = base.to_table(columns=["row", "embedding", "content"], filter=condition)
    return table.take(places_of(table["row"], pa.array(rows)))


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


def _in_use(schema: pa.Schema, upsert: Upsert, places: np.ndarray, rows: np.ndarray, changes: np.ndarray) -> pa.Table:
    embeddings = pa.array(upsert.embeddings[places].ravel())
    columns = [
        upsert.item_ids.take(places),
        rows,
        pa.FixedSizeListArray.from_arrays(embeddings, upsert.embeddings.shape[1]),
        pa.repeat(upsert.encoder, len(places)),
        upsert.contents.take(places),
        changes,
        _now(len(places)),
    ]
    return pa.table(columns, schema=schema)


def _not_in_use(schema: pa.Schema, rows: np.ndarray, change: int) -> pa.Table:
    given = {"row": rows, "change": np.full(len(rows), change), "updated_at": _now(len(rows))}
    columns = [given.get(field.name, pa.nulls(len(rows), field.type)) for field in schema]
    return pa.table(columns, schema=schema)


def _now(records: int) -> pa.Array:
    return pa.repeat(pa.scalar(datetime.now(UTC), pa.timestamp("us", "UTC")), records)
