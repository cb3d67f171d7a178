"""What there is to know about a store: `python -m mim_tf.representation inspect`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import lance
import numpy as np

from mim_tf.errors import StageError
from mim_tf.representation.embedding_statistics import int8_costs, lengths_of, random_pair_cosines, summary
from mim_tf.representation.slots import Shard, check_shard
from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.store_records import IN_USE
from mim_tf.representation.stored_embeddings import StoredEmbeddings
from mim_tf.representation.unused_rows import unused_rows

MOST_SAMPLED = 100_000  # pairs for cosines, and rows for the cost of int8


@dataclass(frozen=True)
class Inspection:
    """Figures of a store's newest version; what its embeddings tell is None where they are too few.

    Summaries have the keys `mean`, `min`, `p01`, `median`, `p99` and `max`.
    """

    store: str  # its path
    identity: str
    encoder: str | None  # fingerprint; None while there are no items
    items: int
    dim: int
    id_type: str
    slots: int
    rows_let_go: int
    rows_free: int  # of those let go
    table_end: int  # the highest row in use + 1: how many rows a table made now has, without spare ones
    versions: int  # that can be read
    first_version: int
    first_time: str  # ISO 8601, UTC
    newest_version: int
    newest_time: str
    tags: dict[str, int]
    stored_bytes: int  # of all files, whatever needs them
    files: int
    newest_bytes: int  # of the data files that the newest version needs
    fragments: int  # of the newest version
    lengths: dict[str, float] | None
    pair_cosines: dict[str, float] | None  # of at most `MOST_SAMPLED` random pairs
    int8_costs: dict[str, float] | None  # 1 - cosine, of at most `MOST_SAMPLED` random rows
    shards: int | None  # asked for
    shard_items: dict[str, float] | None  # `mean`, `min` and `max` of the shards' numbers of items


def inspect_store(store: EmbeddingStore, shards: int | None = None) -> Inspection:
    """Read a store and measure it.

    Args:
        store: which; it is only read.
        shards: into how many a table is to be cut; None for not at all.

    Raises:
        ValueError: `shards` is not 1 to the store's slots.
        StageError: a version was removed while it was read.
    """
    if shards is not None:
        check_shard(Shard(0, shards), store.slots)
    versions = store.versions
    newest = opened(store, versions[-1])
    stored = store.read(versions[-1]) if newest.count_rows(IN_USE) else None
    unused, sizes = unused_rows(store), file_sizes(store)
    described = newest.get_version()["metadata"]
    return Inspection(
        store=store.path,
        identity=store.identity,
        encoder=stored.encoder if stored else None,
        items=len(stored.item_ids) if stored else 0,
        dim=store.dim,
        id_type=store.id_type,
        slots=store.slots,
        rows_let_go=unused.let_go,
        rows_free=unused.free,
        table_end=int(stored.rows[-1]) + 1 if stored else 0,
        versions=len(versions),
        first_version=versions[0],
        first_time=version_time(store, versions[0]),
        newest_version=versions[-1],
        newest_time=version_time(store, versions[-1]),
        tags=store.tags,
        stored_bytes=int(sizes.sum()),
        files=len(sizes),
        newest_bytes=int(described["total_files_size"]),
        fragments=int(described["total_fragments"]),
        **_embedding_summaries(stored),
        shards=shards,
        shard_items=_shard_summary(stored, shards) if stored and shards else None,
    )


def opened(store: EmbeddingStore, version: int) -> lance.LanceDataset:
    """A version's records, to be read only.

    Raises:
        StageError: there is no such version, or no longer.
    """
    try:
        return lance.dataset(store.path, version=version)
    except (ValueError, OSError) as error:
        raise StageError(f"Version {version} of {store.path} cannot be read. Run the command again.") from error


def file_sizes(store: EmbeddingStore) -> np.ndarray:
    """Bytes `[files]` of all files of a store; Lance lists them where they are, locally or in an object store."""
    return lance.dataset(store.path).all_files().read_all()["size_bytes"].to_numpy()


def version_time(store: EmbeddingStore, version: int) -> str:
    """When a version was committed, ISO 8601 in UTC, to the second."""
    local = cast(datetime, opened(store, version).get_version()["timestamp"])
    return local.astimezone(UTC).isoformat(timespec="seconds")


def _embedding_summaries(stored: StoredEmbeddings | None) -> dict[str, dict[str, float] | None]:
    if stored is None:
        return {"lengths": None, "pair_cosines": None, "int8_costs": None}
    pairs = random_pair_cosines(stored.embeddings, MOST_SAMPLED) if len(stored.item_ids) > 1 else np.empty(0)
    costs = int8_costs(stored.embeddings, MOST_SAMPLED)
    return {
        "lengths": summary(lengths_of(stored.embeddings)),
        "pair_cosines": summary(pairs) if len(pairs) else None,
        "int8_costs": summary(costs) if len(costs) else None,
    }


def _shard_summary(stored: StoredEmbeddings, shards: int) -> dict[str, float]:
    """Of the numbers of items in each shard; an item's row tells its slot, and that its shard."""
    counts = np.bincount(stored.rows % stored.slots % shards, minlength=shards)
    return {"mean": float(counts.mean()), "min": int(counts.min()), "max": int(counts.max())}
