"""A user of the demo's shop and what is shown to her next: a request to rank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def candidates_of_one_user(workdir: Path, count: int = 12) -> dict[str, Any]:
    """The first validation impressions of the user with most purchases there, all with the history before them.

    Returns:
        Fields of `count` impressions, the label among them.
    """
    from mim_tf.data.records import read_impressions

    batches = [
        {name: column.numpy() for name, column in batch.items()}
        for batch in read_impressions(workdir / "prepare" / "records", "validation", batch_size=1024)
    ]
    impressions = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    users, purchases = np.unique(impressions["user_id"][impressions["label"] == 1], return_counts=True)
    of_user = np.flatnonzero(impressions["user_id"] == users[purchases.argmax()])
    rows = of_user[np.argsort(impressions["timestamp"][of_user], kind="stable")][:count]
    candidates = {name: column[rows] for name, column in impressions.items()}
    for name in candidates:
        if name.startswith("history_") or name == "timestamp":  # as if all were shown at once
            candidates[name] = np.repeat(candidates[name][:1], len(rows), axis=0)
    return candidates


def ranking_request(candidates: dict[str, Any], inputs: Iterable[str], top_k: int) -> dict[str, Any]:
    """The request as the signature `rank` takes it: the user's side once.

    Args:
        candidates: a request to rank, as `candidates_of_one_user` gives it.
        inputs: of the signature.
        top_k: how many of the best are wanted.
    """
    of_items = {name for name in inputs if name == "category" or name.startswith("item_")}
    request = {name: candidates[name][np.newaxis] for name in of_items}
    of_user = {name: candidates[name][:1] for name in inputs if name not in of_items and name != "top_k"}
    return request | of_user | {"top_k": np.array([top_k])}


def with_items(candidates: dict[str, Any], item_ids: Sequence[int], categories: Sequence[str]) -> dict[str, Any]:
    """The same user's request for other items."""
    rows = {name: np.repeat(column[:1], len(item_ids), axis=0) for name, column in candidates.items()}
    return rows | {"item_id": np.array(item_ids, np.int64), "category": np.array(categories, object)}
