"""One window: what came in within a second or so, embedded and committed as one version of the store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mim_tf.data.content_digest import content_digest
from mim_tf.realtime.dead_letters import DeadLetters
from mim_tf.realtime.event import BadEventError, Event, EventParser, Message
from mim_tf.realtime.item_embedder import Embedded, ItemEmbedder
from mim_tf.representation import EmbeddingStore


class Limits(NamedTuple):
    """When a window is full, and how many items are embedded at once."""

    seconds: float
    rows: int
    batch: int


class Window:
    """Takes messages in, embeds their items a batch at a time, and commits them together.

    Items that are in the store already - the same title and image, the same time - are not embedded again, nor are
    events that a newer one has overtaken.

    Args:
        store: that is committed to.
        parse: makes events of messages.
        embedder: of items.
        dead_letters: take what can never be committed.
        limits: of the window.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        parse: EventParser,
        embedder: ItemEmbedder,
        dead_letters: DeadLetters,
        limits: Limits,
    ):
        self._store, self._parse, self._embedder, self._dead_letters = store, parse, embedder, dead_letters
        self._limits = limits
        self._pending: list[Event] = []  # to be embedded
        self._embedded: list[tuple[Event, np.ndarray]] = []
        self._opened: float | None = None  # time.monotonic() of the first message
        self.arrived: list[float] = []  # seconds since 1970 UTC, of the messages in it
        self._counts: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """How many messages it takes yet."""
        return self._limits.rows - len(self.arrived)

    @property
    def seconds_left(self) -> float:
        """Until it is to be committed; its whole length while it is empty."""
        if self._opened is None:
            return self._limits.seconds
        return max(0.0, self._opened + self._limits.seconds - time.monotonic()) if self.room > 0 else 0.0

    @property
    def age(self) -> float:
        """Seconds since its first message was read."""
        return 0.0 if self._opened is None else time.monotonic() - self._opened

    def add(self, messages: Sequence[Message]) -> None:
        """Take messages in, and embed what makes a full batch.

        Raises:
            UnavailableError: the encoder cannot be asked now. The messages are kept: `commit` asks it again.
        """
        if messages and self._opened is None:
            self._opened = time.monotonic()
        for message in messages:
            self.arrived.append(message.arrived)
            try:
                self._pending.append(self._parse(message))
            except BadEventError as error:
                self._bury(message, str(error))
        while len(self._pending) >= self._limits.batch:
            self._embed_next()

    def commit(self) -> int:
        """Commit what came in; the window is empty then. After an error it is as it was, and may be committed again.

        Returns:
            A version of the store that holds all of it.

        Raises:
            UnavailableError: the encoder cannot be asked now.
            OSError: the storage fails, as where the disk is full.
            StageError: other writers were faster each time.
        """
        while self._pending:
            self._embed_next()
        self._dead_letters.flush()
        version = self._upsert() if self._embedded else self._store.version
        self._counts["committed"] += len(self._embedded)
        self._embedded, self._opened, self.arrived = [], None, []
        return version

    def take_counts(self) -> Counter[str]:
        """How many events were committed, known, overtaken or dead since this was last asked."""
        counts, self._counts = self._counts, Counter()
        return counts

    def _embed_next(self) -> None:
        batch = self._pending[: self._limits.batch]
        wanted, counts = self._not_known(batch)
        embedded = self._embedder(wanted) if wanted else Embedded([], [])
        del self._pending[: len(batch)]
        self._counts += counts
        self._embedded += embedded.items
        for event, reason in embedded.poison:
            self._bury(event.message, reason)

    def _not_known(self, events: Sequence[Event]) -> tuple[list[Event], Counter[str]]:
        """Those whose content or time the store has not, and how many others there are of which kind."""
        ids = np.array(sorted({event.item_id for event in events}), object)
        labels = self._store.labels_of(ids)
        known = dict(zip(ids.tolist(), zip(labels.contents, labels.event_times, strict=True), strict=True))
        in_window = {event.item_id for event, _ in self._embedded}  # may change them once more
        wanted, counts = [], Counter[str]()
        for event in events:
            content, stored_time = known[event.item_id]
            if event.time < stored_time:
                counts["overtaken"] += 1
            elif event.item_id not in in_window and _digest(event) == content and _same(event.time, stored_time):
                counts["known"] += 1
            else:
                wanted.append(event)
                in_window.add(event.item_id)
        return wanted, counts

    def _upsert(self) -> int:
        events, embeddings = zip(*self._embedded, strict=True)
        id_dtype = np.int64 if self._store.id_type == "int64" else object
        return self._store.upsert(
            np.array([event.item_id for event in events], id_dtype),
            np.stack(embeddings),
            encoder=self._embedder.fingerprint,
            contents=np.array([_digest(event) for event in events], object),
            event_times=np.array([event.time for event in events], "datetime64[us]"),
        )

    def _bury(self, message: Message, reason: str) -> None:
        self._dead_letters.add(message, reason)
        self._counts["dead"] += 1


def _digest(event: Event) -> str:
    return content_digest(event.title, event.image)


def _same(one: np.datetime64, other: np.datetime64) -> bool:
    return bool(one == other or np.isnat(one))  # without a time: nothing says that anything is new
