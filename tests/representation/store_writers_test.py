"""Several writers at once, and one that is killed: every version is whole, and nothing that was committed is lost.

The oracle is a dictionary: what the writers say that they committed, applied in the order of versions.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore

ENV = {**os.environ, "LANCE_LOG": "error"}

OPENED = """
import json, sys
import numpy as np
from mim_tf.representation import EmbeddingStore
store = EmbeddingStore(sys.argv[1])
"""

# Each round: one item of its own, and three that all writers fight for.
RIVAL = (
    OPENED
    + """
writer, rounds = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(rounds):
    ids = np.array([1000 * writer + turn, 1, 2, 3])
    embeddings = np.full((4, 2), [writer, turn], np.float16)
    version = store.upsert(ids, embeddings, encoder="e")
    print(json.dumps([version, ids.tolist(), embeddings.tolist()]), flush=True)
"""
)

# Blocks of items that all carry the block's number: a half-written one would show.
ENDLESS = (
    OPENED
    + """
ids = np.arange(2000)
for turn in range(1, 100000):
    print(store.upsert(ids, np.full((2000, 8), store.version), encoder="e"), flush=True)
"""
)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a writer that does not outlive the test."""
    with ExitStack() as running:

        def start(code: str, *arguments: str) -> subprocess.Popen:
            command = [sys.executable, "-c", code, *arguments]
            writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV)
            running.enter_context(writer)
            running.callback(writer.kill)
            return writer

        yield start


def reply(writer: subprocess.Popen) -> str:
    assert writer.stdout is not None
    return writer.stdout.readline()


def let_go_at_once(writers: list[subprocess.Popen]) -> None:
    for writer in writers:
        assert reply(writer) == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()


def test_rival_writers_lose_nothing_and_share_no_row(tmp_path: Path, start: Callable[..., subprocess.Popen]) -> None:
    store, rounds = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2), 8
    writers = [start(RIVAL, store.path, str(number), str(rounds)) for number in (1, 2, 3)]
    let_go_at_once(writers)
    commits = sorted(json.loads(line) for writer in writers for line in writer.communicate(timeout=300)[0].splitlines())
    assert [writer.returncode for writer in writers] == [0, 0, 0]

    assert [version for version, _, _ in commits] == list(range(2, 2 + 3 * rounds))  # version 1 is the empty store
    expected: dict[int, list[float]] = {}
    for version, item_ids, embeddings in commits:
        expected.update(zip(item_ids, embeddings, strict=True))
        stored = store.read(version)
        assert dict(zip(stored.item_ids.tolist(), stored.embeddings.tolist(), strict=True)) == expected
        assert len(set(stored.rows.tolist())) == len(stored.rows)


def test_compaction_beside_writers_loses_nothing(tmp_path: Path, start: Callable[..., subprocess.Popen]) -> None:
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2)
    writers = [start(RIVAL, store.path, str(number), "12") for number in (1, 2)]
    let_go_at_once(writers)
    while any(writer.poll() is None for writer in writers):
        with suppress(StageError):  # writers without a pause may be faster each time
            store.compact(keep_versions=2)
        time.sleep(0.02)
    store.compact(keep_versions=2)
    assert len(store.versions) == 2
    commits = sorted(json.loads(line) for writer in writers for line in writer.communicate(timeout=300)[0].splitlines())
    assert len(commits) == 24
    expected: dict[int, list[float]] = {}
    for _, item_ids, embeddings in commits:
        expected.update(zip(item_ids, embeddings, strict=True))
    stored = store.read()
    assert dict(zip(stored.item_ids.tolist(), stored.embeddings.tolist(), strict=True)) == expected
    assert len(set(stored.rows.tolist())) == len(expected)


@pytest.mark.parametrize("commits", [1, 4])
def test_a_killed_writer_leaves_whole_versions_only(
    tmp_path: Path, start: Callable[..., subprocess.Popen], commits: int
) -> None:
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=8)
    for delay in (0.0, 0.004, 0.011):  # seconds into the next commit
        writer = start(ENDLESS, store.path)
        seen = [int(reply(writer)) for _ in range(commits)][-1]
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=300)
        assert store.version >= seen
    for version in store.versions[1:]:
        stored = store.read(version)
        assert len(stored.item_ids) == 2000
        np.testing.assert_array_equal(stored.embeddings, np.full((2000, 8), version - 1, np.float16))

    after = store.upsert(np.array([5]), np.zeros((1, 8)), encoder="e")
    assert after == store.version
    assert (store.read().embeddings == 0).all(axis=1).sum() == 1
