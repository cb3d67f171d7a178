"""Some users' validation sessions, to be looked at while a click model learns."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.items_by_id import ItemsById
from mim_tf.data.record_cache import RecordCache
from mim_tf.interest.content_attention import content_attention
from mim_tf.ranking.network import Features
from mim_tf.ranking.ranker import ContentTable
from mim_tf.settings import RankSettings
from mim_tf.training.history_picture import MOST_BEHAVIOURS, UserHistory, history_picture
from mim_tf.training.pictures import Shown
from mim_tf.training.scoring import validation_sessions

USERS = 4
"""As many users are drawn."""


class _Session(NamedTuple):
    """A row of the validation sessions, without its padding."""

    user: int | bytes
    behaviours: np.ndarray  # [behaviours] ids, oldest first
    candidates: np.ndarray  # [candidates] ids
    clicked: np.ndarray  # [candidates] bool
    first: int  # where its candidates begin among all validation impressions


class SampleHistories:
    """The sessions of a few users of the first validation batch who had a history and have clicked.

    Those with most candidates, then with most behaviours, are taken; always the same ones of the same records. Photos
    are read once, by the items' index.

    Args:
        records: what `prepare` wrote.
        options: of the rank stage.
        table: content embeddings of the items.
    """

    def __init__(self, records: Path, options: RankSettings, table: ContentTable):
        self._table = table
        batch = next(iter(validation_sessions(records, options)))
        sessions = [session for session in _sessions(batch) if len(session.behaviours) and session.clicked.any()]
        self._sessions = sorted(sessions, key=lambda one: (-len(one.candidates), -len(one.behaviours)))[:USERS]
        self._shown = _shown_items(records, self._sessions)

    def picture(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Draw them, `history_picture`; None where no user is worth it.

        Args:
            probabilities: `[impressions]`, of all validation impressions in the order of the records.
        """
        if not self._sessions:
            return None
        return history_picture([self._history(session, probabilities) for session in self._sessions])

    def _history(self, session: _Session, probabilities: np.ndarray) -> UserHistory:
        of_candidates = probabilities[session.first : session.first + len(session.candidates)]
        order = np.argsort(-of_candidates, kind="stable")
        weights = self._weights(session.candidates[order[0]], session.behaviours)
        behaviours = [
            self._item(item)._replace(similarity=float(weight))
            for item, weight in zip(session.behaviours, weights, strict=True)
        ]
        ranked = zip(session.candidates[order], of_candidates[order], session.clicked[order], strict=True)
        candidates = [
            self._item(item)._replace(similarity=float(probability), right=bool(clicked))
            for item, probability, clicked in ranked
        ]
        return UserHistory(f"user {_text(session.user)}", behaviours, candidates)

    def _weights(self, candidate: int | bytes, behaviours: np.ndarray) -> np.ndarray:
        """The content weight of each behaviour for a candidate, equation (7), `[behaviours]`."""
        contents = tf.cast(self._table.lookup(tf.constant([candidate, *behaviours])), tf.float32)
        return content_attention(contents[tf.newaxis, :1], contents[tf.newaxis, 1:])[0, 0].numpy()

    def _item(self, item_id: int | bytes) -> Shown:
        return self._shown.get(item_id, Shown(b"", _text(item_id)))


def _sessions(batch: Features) -> list[_Session]:
    columns = {name: batch[name].numpy() for name in ("user_id", "history_item_id", "item_id", "label", "is_shown")}
    first = np.cumsum([0, *columns["is_shown"].sum(axis=1)])
    padding = b"" if columns["item_id"].dtype == object else -1
    sessions = []
    for row, (user, history, candidates, labels, shown) in enumerate(zip(*columns.values(), strict=True)):
        behaviours = history[history != padding]
        sessions.append(_Session(user, behaviours, candidates[shown], labels[shown] == 1, int(first[row])))
    return sessions


def _shown_items(records: Path, sessions: list[_Session]) -> dict[int | bytes, Shown]:
    """Photos and titles of what is drawn, by item id; none where the item records are not here."""
    wanted = {item for one in sessions for item in (*one.behaviours[-MOST_BEHAVIOURS:], *one.candidates)}
    if not wanted or RecordCache.of(str(records)) is not None:  # rank fetches impressions, and no images for a picture
        return {}
    item_ids = sorted(wanted)
    found = ItemsById(records, verify=False)(tf.constant(item_ids))
    photos, titles = found.images.numpy(), found.titles.numpy()
    places = zip(item_ids, found.places.numpy(), strict=True)
    return {item: Shown(photos[place], _text(titles[place])) for item, place in places if place < len(photos)}


def _text(value: int | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
