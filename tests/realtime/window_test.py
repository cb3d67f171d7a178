"""Windows: what they commit, what they leave out, and that a failed commit loses nothing.

The encoder is arithmetic on the picture, so the store can be checked by hand.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.errors import SettingsError
from mim_tf.realtime.dead_letters import DeadLetters
from mim_tf.realtime.event import EventParser, Message
from mim_tf.realtime.item_embedder import ItemEmbedder, UnavailableError
from mim_tf.realtime.window import Limits, Window
from mim_tf.representation import EmbeddingStore
from tests.realtime.pictures import event


class Encoder:
    """Embeds a picture as its two colours; pictures of 13 break it, 14 gives infinity."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.down = False
        self.fingerprint = "e"

    def __call__(self, images: Sequence[bytes], titles: Sequence[str]) -> tuple[np.ndarray, str]:
        if self.down:
            raise UnavailableError("the encoder is down")
        self.batches.append(len(images))
        pixels = np.stack([tf.io.decode_image(image, channels=3).numpy()[0, 0, :2] for image in images])
        if (pixels[:, 0] == 13).any():
            raise ValueError("unlucky")
        return np.where(pixels == 14, np.inf, pixels).astype(np.float32), self.fingerprint


class Room:
    """A store, an encoder and windows between them."""

    def __init__(self, folder: Path):
        self.store = EmbeddingStore.create(folder / "store.lance", id_type="int64", dim=2)
        self.encoder, self.letters = Encoder(), DeadLetters(folder / "dead.jsonl")
        self.window = self.new_window()

    def new_window(self, batch: int = 4) -> Window:
        embedder = ItemEmbedder(self.encoder, "e")
        return Window(
            self.store, EventParser("int64", ["title"], None), embedder, self.letters, Limits(60.0, 100, batch)
        )

    def add(self, *payloads: bytes) -> None:
        self.window.add([Message(payload, f"line {number}", 1e9) for number, payload in enumerate(payloads)])

    def items(self) -> dict[int, int]:
        stored = self.store.read()
        return dict(zip(stored.item_ids.tolist(), stored.embeddings[:, 0].astype(int).tolist(), strict=True))

    def reasons(self) -> list[str]:
        return [json.loads(line)["reason"] for line in self.letters.path.read_text().splitlines()]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_window_is_one_version(room: Room) -> None:
    room.add(*(event(number, number) for number in range(10)))
    assert room.encoder.batches == [4, 4]  # the rest waits for the window's end
    assert room.window.commit() == room.store.version == 2
    assert room.encoder.batches == [4, 4, 2]
    assert room.items() == {number: number for number in range(10)}
    assert room.window.take_counts() == Counter(committed=10)
    assert room.window.commit() == 2  # nothing came
    assert room.window.take_counts() == Counter()


def test_what_is_known_is_not_embedded_again(room: Room) -> None:
    lines = [event(1, 1), event(2, 2, timestamp=10)]
    room.add(*lines)
    room.window.commit()
    room.encoder.batches.clear()
    room.add(*lines, event(1, 1, timestamp=1e9 + 20))
    assert room.window.commit() == 3  # by the new time alone
    assert room.encoder.batches == [1]
    assert room.window.take_counts() == Counter(committed=3, known=2)
    assert room.store.changes(2).item_ids.tolist() == []
    room.add(event(2, 2, timestamp=10), event(1, 1, timestamp=1e9 + 20))
    assert room.window.commit() == 3
    assert room.encoder.batches == [1]


def test_what_was_overtaken_is_left_out(room: Room) -> None:
    room.add(event(1, 5, timestamp=50))
    room.window.commit()
    room.add(event(1, 4, timestamp=40), event(1, 6, timestamp=60), event(1, 3, timestamp=55))
    room.window.commit()
    assert room.items() == {1: 6}
    assert room.window.take_counts()["overtaken"] == 1  # 40; 55 is seen to be late by the commit alone


def test_an_item_that_goes_there_and_back_within_a_window(room: Room) -> None:
    room.add(event(1, 1))
    room.window.commit()
    room.add(event(1, 2), event(1, 1))
    room.window.commit()
    assert room.items() == {1: 1}


def test_poison_is_told_from_its_neighbours(room: Room) -> None:
    room.add(event(1, 1), event(2, 13), event(3, 14), event(4, 4), b"{}\n", event(5, 5))
    room.window.commit()
    assert room.items() == {1: 1, 4: 4, 5: 5}
    assert room.reasons() == ["missing item_id", "the encoder fails: unlucky", "the embedding is not finite"]
    assert room.window.take_counts() == Counter(committed=3, dead=3)
    letters = [json.loads(line) for line in room.letters.path.read_text().splitlines()]
    assert letters[1]["event"].encode() == event(2, 13)
    assert letters[0]["origin"] == "line 4"


def test_an_encoder_that_is_down_loses_nothing(room: Room) -> None:
    room.encoder.down = True
    with pytest.raises(UnavailableError):
        room.add(*(event(number, number) for number in range(6)))
    with pytest.raises(UnavailableError):
        room.window.commit()
    room.encoder.down = False
    room.window.commit()
    assert room.items() == {number: number for number in range(6)}
    assert room.window.take_counts() == Counter(committed=6)


def test_a_storage_that_fails_loses_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.add(event(1, 1), event(2, 13))

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mim_tf.representation.store.commit_records", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            room.window.commit()
    monkeypatch.undo()
    assert room.window.commit() == 2
    assert room.items() == {1: 1}
    assert room.reasons() == ["the encoder fails: unlucky"]


def test_what_fails_in_the_middle_of_a_poll_loses_nothing_behind_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, failures = EventParser.__call__, iter([False, False, True])

    def failing(parser: EventParser, message: Message) -> object:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        return parse(parser, message)

    monkeypatch.setattr(EventParser, "__call__", failing)
    with pytest.raises(OSError, match="Input/output error"):
        room.add(event(1, 1), b"poison", event(2, 2), event(3, 3))
    room.window.commit()
    assert room.items() == {1: 1, 2: 2, 3: 3}
    assert room.window.take_counts() == Counter(committed=3, dead=1)


def test_an_encoder_is_tried_at_the_start(room: Room) -> None:
    embedder = ItemEmbedder(room.encoder, "f")
    with pytest.raises(SettingsError, match=r"`realtime.encoder` must serve f, .* Received: e"):
        embedder.warm_up()
    room.encoder.down = True
    embedder.warm_up()  # not now: later calls try

    def broken(*_: object) -> tuple[np.ndarray, str]:
        raise ValueError("NormalizeUTF8 not registered")

    with pytest.raises(SettingsError, match=r"must embed a picture and a title\. It says: NormalizeUTF8"):
        ItemEmbedder(broken, "e").warm_up()


def test_another_encoder_ends_it(room: Room) -> None:
    room.encoder.fingerprint = "f"
    room.add(event(1, 1))
    with pytest.raises(SettingsError, match=r"`realtime.encoder` must serve e, .* Received: f"):
        room.window.commit()


def test_room_and_time(room: Room) -> None:
    assert (room.window.room, room.window.seconds_left, room.window.age) == (100, 60.0, 0.0)
    room.add(*[b"{}"] * 99)
    assert room.window.room == 1
    assert 0 < room.window.seconds_left < 60
    room.add(b"{}")
    assert room.window.seconds_left == 0
    assert room.window.arrived == [1e9] * 100
    room.window.commit()
    assert (room.window.room, room.window.seconds_left) == (100, 60.0)
