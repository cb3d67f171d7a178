"""Freeing what old versions take: `python -m mim_tf.representation compact`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mim_tf.errors import StageError
from mim_tf.representation.inspection import file_sizes
from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.unused_rows import UnusedRows, unused_rows


@dataclass(frozen=True)
class Compaction:
    """What a compaction freed, and what there is after it."""

    untagged: dict[str, int]  # the versions that had been tagged, by their tags
    freed_bytes: int  # of what was removed; what was put together may have been written anew
    before_bytes: int  # of all files
    stored_bytes: int  # of all files now
    files: int
    versions: list[int]
    tags: dict[str, int]
    unused: UnusedRows


def compact_store(
    store: EmbeddingStore,
    untag: Sequence[str] = (),
    *,
    keep_versions: int | None = None,
    older_than: timedelta | None = None,
) -> Compaction:
    """Take tags away, and then `EmbeddingStore.compact` with what else is given.

    Raises:
        ValueError: not exactly one rule is given, or it is not positive.
        StageError: there is no such tag, and nothing was done; or other writers were faster each time.
    """
    tags = store.tags
    unknown = [name for name in untag if name not in tags]
    if unknown:
        raise StageError(f"{store.path} has no tag {unknown[0]!r}. There are: {', '.join(tags) or 'none'}.")
    before, untagged = int(file_sizes(store).sum()), {name: tags[name] for name in untag}
    for name in untagged:
        store.untag(name)
    freed = store.compact(keep_versions=keep_versions, older_than=older_than)
    sizes = file_sizes(store)
    return Compaction(
        untagged=untagged,
        freed_bytes=freed,
        before_bytes=before,
        stored_bytes=int(sizes.sum()),
        files=len(sizes),
        versions=store.versions,
        tags=store.tags,
        unused=unused_rows(store),
    )
