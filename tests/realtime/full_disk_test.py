"""A disk that is really full: a commit fails, nothing is lost, and the same commit succeeds once there is room."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mim_tf.realtime.dead_letters import DeadLetters
from mim_tf.realtime.event import EventParser, Message
from mim_tf.realtime.item_embedder import ItemEmbedder
from mim_tf.realtime.window import Limits, Window
from mim_tf.representation import EmbeddingStore
from tests.realtime.pictures import event

DIM = 256


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system of its own can only be mounted by root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    store = EmbeddingStore.create(small_disk / "store.lance", id_type="int64", dim=DIM)
    letters = DeadLetters(small_disk / "dead.jsonl")

    def embed(images: list[bytes], titles: list[str]) -> tuple[np.ndarray, str]:
        return np.random.default_rng(0).random([len(titles), DIM]), "e"

    window = Window(
        store, EventParser("int64", ["title"], None), ItemEmbedder(embed, "e"), letters, Limits(60.0, 2000, 2000)
    )
    window.add([Message(event(number, number), "here", 0.0) for number in range(1000)])
    filler = small_disk / "filler"
    room = os.statvfs(small_disk)
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - 4096))  # so that a part of the letter fits
    window.add([Message(b"x" * 20_000, "here", 0.0)])
    for _ in range(2):
        with pytest.raises(OSError, match="No space left on device"):
            window.commit()
    assert len(store) == 0
    filler.unlink()
    window.commit()
    assert sorted(store.read().item_ids) == list(range(1000))
    lines = letters.path.read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "x" * 20_000  # whole, after what did not fit
