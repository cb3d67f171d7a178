"""The loop: nothing is acknowledged before it is committed, and whatever fails is tried again."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from mim_tf.realtime import loop as loop_module
from mim_tf.realtime.compactor import Compactor
from mim_tf.realtime.dead_letters import DeadLetters
from mim_tf.realtime.event import EventParser, Message
from mim_tf.realtime.item_embedder import ItemEmbedder, UnavailableError
from mim_tf.realtime.loop import RealTimeLoop
from mim_tf.realtime.metrics import Metrics
from mim_tf.realtime.window import Limits, Window
from mim_tf.representation import EmbeddingStore
from tests.realtime.pictures import event


class Log:
    """A source of ten-line polls, that remembers what was acknowledged; a number in `troubles` fails that call."""

    def __init__(self, lines: list[bytes]):
        self.lines, self.read, self.acknowledged = lines, 0, 0
        self.troubles: list[str] = []

    def poll(self, most: int, seconds: float) -> list[Message]:
        if "poll" in self.troubles:
            self.troubles.remove("poll")
            raise ConnectionError("the log is away")
        part = self.lines[self.read : self.read + min(most, 10)]
        self.read += len(part)
        return [Message(line, "here", 0.0) for line in part]

    def acknowledge(self) -> None:
        if "acknowledge" in self.troubles:
            self.troubles.remove("acknowledge")
            raise ConnectionError("the log is away")
        self.acknowledged = self.read

    def drained(self) -> bool:
        return True

    def lag(self) -> int:
        return len(self.lines) - self.read

    def close(self) -> None:
        """Nothing is open."""


class Setup:
    """A loop around a log, with a window of 25 events."""

    def __init__(self, folder: Path, items: int):
        self.store = EmbeddingStore.create(folder / "store.lance", id_type="int64", dim=1)
        self.log = Log([event(number, number) for number in range(items)])
        self.letters = DeadLetters(folder / "dead.jsonl")
        self.stopping = threading.Event()
        self.metrics = Metrics()
        self.trouble: Exception | None = None
        parser = EventParser("int64", ["title"], None)
        window = Window(self.store, parser, ItemEmbedder(self.embed, "e"), self.letters, Limits(60.0, 25, 8))
        compactor = Compactor(self.store.path, 4, timedelta(microseconds=1))
        self.loop = RealTimeLoop(self.log, window, [], compactor, self.metrics, self.stopping.is_set)
        self.compactor = compactor

    def embed(self, images: object, titles: list[str]) -> tuple[np.ndarray, str]:
        trouble, self.trouble = self.trouble, None
        if trouble:
            raise trouble
        return np.array([[float(title.removeprefix("item "))] for title in titles]), "e"

    def committed(self) -> set[int]:
        return set(self.store.read().item_ids.tolist()) if len(self.store) else set()

    def failures(self, part: str) -> float:
        return self.metrics.registry.get_sample_value("mim_realtime_failures_total", {"part": part}) or 0.0


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr(loop_module, "_LOOK", 0.001)
    setup = Setup(tmp_path, items=60)
    yield setup
    setup.compactor.wait(60)


def test_once_takes_all_in(setup: Setup) -> None:
    setup.loop.run(once=True)
    assert setup.committed() == set(range(60))
    assert setup.log.acknowledged == 60
    assert setup.store.version == 4  # windows of 25, 25 and 10
    assert setup.loop.counts == Counter(committed=60)
    value = setup.metrics.registry.get_sample_value("mim_realtime_events_total", {"result": "committed"})
    assert value == 60


def test_every_acknowledgement_comes_after_the_commit(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledge, seen = setup.log.acknowledge, []

    def checked() -> None:
        seen.append(setup.committed() == set(range(setup.log.read)))
        acknowledge()

    monkeypatch.setattr(setup.log, "acknowledge", checked)
    setup.loop.run(once=True)
    assert seen == [True, True, True]


def test_a_log_that_is_away_is_asked_again(setup: Setup) -> None:
    setup.log.troubles = ["poll", "poll", "acknowledge"]
    setup.loop.run(once=True)
    assert setup.committed() == set(range(60))
    assert setup.log.acknowledged == 60
    assert setup.failures("source") == 3


@pytest.mark.parametrize("trouble", [UnavailableError("down"), OSError(28, "No space left on device")])
def test_a_commit_that_fails_is_tried_again(setup: Setup, trouble: Exception) -> None:
    setup.trouble = trouble
    setup.loop.run(once=True)
    assert setup.committed() == set(range(60))
    assert setup.log.acknowledged == 60
    assert setup.failures("encoder") + setup.failures("store") == 1


def test_what_could_not_be_committed_is_not_acknowledged(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        setup.stopping.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EmbeddingStore, "upsert", full)
    setup.loop.run()
    assert setup.log.read > 0
    assert setup.log.acknowledged == 0


def test_stopping_commits_what_was_read(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = setup.log.poll

    def stop_after_the_first(most: int, seconds: float) -> list[Message]:
        setup.stopping.set()
        return poll(most, seconds)

    monkeypatch.setattr(setup.log, "poll", stop_after_the_first)
    setup.loop.run()
    assert setup.committed() == set(range(10))
    assert setup.log.acknowledged == 10


def test_the_store_is_compacted_beside(setup: Setup) -> None:
    setup.log.lines = [event(number, number) for number in range(200)]  # eight windows
    setup.loop.run(once=True)
    setup.compactor.wait(60)
    assert len(setup.store.versions) < 9
    assert setup.committed() == set(range(200))
