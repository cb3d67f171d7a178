"""One window: what came in within a second or so, embedded and committed as one version of the store."""

from __future__ import annotations

import time
from collections import Counter, deque
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
        self._unread: deque[Message] = deque()
        self._pending: list[Event] = []  # to be embedded
        self._embedded: list[tuple[Event, np.ndarray]] = []
        self._poison: list[tuple[Message, str]] = []  # with the reasons
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

        Whatever is raised, the messages are kept, and `commit` goes on with them.

        Raises:
            UnavailableError: the encoder cannot be asked now.
            OSError: the store or an image cannot be read now.
        """
        if messages and self._opened is None:
            self._opened = time.monotonic()
        self._unread += messages
        self.arrived += [message.arrived for message in messages]
        self._read_all()
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
        self._read_all()
        while self._pending:
            self._embed_next()
        self._dead_letters.keep(self._poison)
        self._counts += Counter(dead=len(self._poison))
        self._poison = []
        version = self._upsert() if self._embedded else self._store.version
        self._counts += Counter(committed=len(self._embedded))
        self._embedded, self._opened, self.arrived = [], None, []
        return version

    def take_counts(self) -> Counter[str]:
        """How many events were committed, known, overtaken or dead since this was last asked."""
        counts, self._counts = self._counts, Counter()
        return counts

    def _read_all(self) -> None:
        while self._unread:
            try:
                self._pending.append(self._parse(self._unread[0]))
            except BadEventError as error:
                self._poison.append((self._unread[0], str(error)))
            self._unread.popleft()

    def _embed_next(self) -> None:
        batch = self._pending[: self._limits.batch]
        wanted, counts = self._not_known(batch)
        embedded = self._embedder(wanted) if wanted else Embedded([], [])
        del self._pending[: len(batch)]
        self._counts += counts
        self._embedded += embedded.items
        self._poison += [(event.message, reason) for event, reason in embedded.poison]

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
            elif event.item_id not in in_window and _digest(event) == content and _no_news(event, stored_time):
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


def _digest(event: Event) -> str:
    return content_digest(event.title, event.image)


def _no_news(event: Event, stored_time: np.datetime64) -> bool:
    """Whether a known content says nothing new by its time."""
    return not event.told or bool(event.time == stored_time)
