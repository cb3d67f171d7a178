"""The validation impressions with what their predictions do not hold: the histories before them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mim_tf.errors import StageError
from mim_tf.representation.slots import MOST_SLOTS, slots_of
from mim_tf.settings import RankSettings
from mim_tf.training.changed_items import plain_ids
from mim_tf.training.scoring import Scored, validation_sessions

_WORTH_SHOWING = 5  # behaviours; with fewer there is little to see


class ShownSession(NamedTuple):
    """What a user was shown at once.

    Attributes:
        user_id: whose.
        timestamp: seconds since 1970 UTC.
        history: `[behaviours]` ids of items, the oldest first.
        candidates: `[candidates]` ids of items.
        clicked: `[candidates]` bool.
        first: the place of the first candidate among the validation impressions.
    """

    user_id: int | str
    timestamp: int
    history: np.ndarray
    candidates: np.ndarray
    clicked: np.ndarray
    first: int


class Validation(NamedTuple):
    """What one reading of the records gives.

    Attributes:
        history_lengths: `[impressions]` int64, behaviours before each, as many as the model was given.
        sessions: a sample, each of another user.
    """

    history_lengths: np.ndarray
    sessions: list[ShownSession]


def read_validation(records: Path, options: RankSettings, scored: Scored, count: int) -> Validation:
    """Read the validation impressions once, and keep a few sessions that a hash of users' ids draws.

    Sessions with five behaviours before them, several candidates and a click among these come first; those of users
    without behaviours never.

    Args:
        records: what `prepare` wrote.
        options: of the rank stage.
        scored: the stage's predictions.
        count: sessions to keep, at most.

    Raises:
        StageError: the predictions are of other impressions than the records hold.
    """
    lengths, items, chosen = [], [], list[tuple[tuple[int, int], ShownSession]]()
    first = 0
    for batch in validation_sessions(records, options):
        columns = {name: column.numpy() for name, column in batch.items()}
        shown = columns["is_shown"]
        of_rows = _lengths(columns["history_item_id"])
        items.append(columns["item_id"][shown])
        lengths.append(np.repeat(of_rows, shown.sum(axis=1)))
        chosen = _first_of_users([*chosen, *_ranked(columns, of_rows, first, count)], count)
        first += int(shown.sum())
    if not items or not np.array_equal(np.concatenate(items), scored.items):
        raise StageError(f"{records} must hold the impressions that were predicted. Run the rank stage again.")
    return Validation(np.concatenate(lengths), [session for _, session in chosen])


def _lengths(histories: np.ndarray) -> np.ndarray:
    """Behaviours of each row, padding left out."""
    return (histories != (b"" if histories.dtype == object else -1)).sum(axis=1)


def _ranked(
    columns: dict[str, np.ndarray], lengths: np.ndarray, first: int, count: int
) -> Iterable[tuple[tuple[int, int], ShownSession]]:
    """The rows of a batch that may be shown, with what orders them."""
    shown, users = columns["is_shown"], plain_ids(columns["user_id"])
    counts = shown.sum(axis=1)
    tells_little = (lengths < _WORTH_SHOWING) | (counts < 2) | ~(columns["label"] * shown).any(axis=1)
    hashes, starts = slots_of(users, MOST_SLOTS), first + np.cumsum(counts) - counts
    order = np.lexsort((hashes, tells_little))
    taken = set()
    for row in order[lengths[order] > 0]:
        taken.add(users[row])
        if len(taken) > count:
            return
        some = shown[row]
        session = ShownSession(
            user_id=users[row : row + 1].tolist()[0],
            timestamp=int(columns["timestamp"][row]),
            history=plain_ids(columns["history_item_id"][row][: lengths[row]]),
            candidates=plain_ids(columns["item_id"][row][some]),
            clicked=columns["label"][row][some] == 1,
            first=int(starts[row]),
        )
        yield (int(tells_little[row]), int(hashes[row])), session


def _first_of_users(
    ranked: list[tuple[tuple[int, int], ShownSession]], count: int
) -> list[tuple[tuple[int, int], ShownSession]]:
    """The first session of each user, of the first users."""
    of_user = {session.user_id: (key, session) for key, session in sorted(ranked, key=lambda one: one[0], reverse=True)}
    return sorted(of_user.values(), key=lambda one: one[0])[:count]
