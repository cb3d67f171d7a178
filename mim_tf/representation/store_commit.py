"""Commits that are strict: changes are made of what the newest version holds, or not at all."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from typing import TypeVar, cast

import lance
import pyarrow as pa

from mim_tf.errors import StageError

_ATTEMPTS = 100
_LONGEST_WAIT = 0.5  # seconds

_jitter = random.Random()  # of its own: the program's seeds are not touched
_Result = TypeVar("_Result")


def commit_records(base: lance.LanceDataset, records: pa.Table) -> int:
    """Commit a version in which `records` replace those of `base` with the same `row` or stand beside them.

    Lance lets two appends, or two updates of different records, both succeed. Here one must fail, since rows were
    chosen from what `base` holds. Two changes conflict if both touch one fragment, so each says that it touches all of
    them. In an empty store there is none; there Lance's `Merge` conflicts with other changes. What does not conflict is
    a compaction's first commit, which reserves numbers for files: so the new version need not be `base.version + 1`.

    Returns:
        The version that was committed.

    Raises:
        OSError: another change was committed meanwhile, or the storage failed. Nothing was committed.
    """
    transaction, _ = (
        base.merge_insert("row").when_matched_update_all().when_not_matched_insert_all().execute_uncommitted(records)
    )
    update = cast(lance.LanceOperation.Update, transaction.operation)
    fragments = {fragment.fragment_id: fragment.metadata for fragment in base.get_fragments()}
    fragments |= {fragment.id: fragment for fragment in update.updated_fragments}
    for fragment_id in update.removed_fragment_ids:
        del fragments[fragment_id]
    if fragments or update.removed_fragment_ids:
        operation: lance.LanceOperation.BaseOperation = dataclasses.replace(
            update, updated_fragments=list(fragments.values())
        )
    else:
        new = [dataclasses.replace(fragment, id=number) for number, fragment in enumerate(update.new_fragments)]
        operation = lance.LanceOperation.Merge(new, base.lance_schema)
    return int(lance.LanceDataset.commit(base, operation, read_version=base.version).version)


def retried(
    attempt: Callable[[lance.LanceDataset], _Result],
    newest: Callable[[], lance.LanceDataset],
    attempts: int = _ATTEMPTS,
) -> _Result:
    """What `attempt` makes of the newest version, begun anew as long as others commit or clean up before it is done.

    Args:
        attempt: works on a version that stays as it is; an `OSError` ends it without effect.
        newest: opens the newest version.
        attempts: at most.

    Raises:
        StageError: others were faster too often.
    """
    last: Exception | None = None
    for turn in range(attempts):
        base = newest()
        try:
            return attempt(base)
        except (OSError, pa.ArrowInvalid) as error:  # so Lance tells of conflicts and of files that are gone
            if newest().version == base.version:  # nobody came between: the storage has failed
                raise
            last = error
        time.sleep(_jitter.uniform(0, min(0.002 * 2**turn, _LONGEST_WAIT)))
    raise StageError(
        f"{base.uri} was changed by others during each of {attempts} attempts. Run fewer writers at once."
    ) from last
