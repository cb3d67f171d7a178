"""The rows of a store that no item has."""

from __future__ import annotations

from typing import NamedTuple

import lance

from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.store_commit import retried
from mim_tf.representation.store_records import let_go_by


class UnusedRows(NamedTuple):
    """How many rows of the newest version no item has any more."""

    let_go: int
    free: int  # of those let go, which the next new items get; older versions that can be read need the others


def unused_rows(store: EmbeddingStore) -> UnusedRows:
    """The rows whose items have got others."""

    def counted(dataset: lance.LanceDataset) -> UnusedRows:
        oldest = min(reference["version"] for reference in dataset.version_refs())
        records = dataset.to_table(columns=["item_id", "change"])
        unused = records["item_id"].is_null().to_numpy()
        free = unused & let_go_by(oldest, dataset.version, records["change"].to_numpy())
        return UnusedRows(int(unused.sum()), int(free.sum()))

    return retried(counted, lambda: lance.dataset(store.path))
