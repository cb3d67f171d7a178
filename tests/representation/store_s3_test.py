"""A store behind a URI: S3 as moto serves it, with the conditional writes that commits rely on."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mim_tf.representation import EmbeddingStore
from tests.free_ports import free_ports

MOTO = Path(__file__).parents[2] / ".venv-moto" / "bin" / "moto_server"
RIVAL = """
import json, sys
import numpy as np
from mim_tf.representation import EmbeddingStore
store, writer = EmbeddingStore("s3://bucket/store.lance"), int(sys.argv[1])
for turn in range(5):
    ids, value = np.array([100 * writer + turn, 1, 2]), 10 * writer + turn
    version = store.upsert(ids, np.full((3, 2), value), encoder="e")
    print(json.dumps([version, ids.tolist(), value]), flush=True)
"""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if not MOTO.exists():
        pytest.skip("`make .venv-moto/installed` installs the S3 to test against")
    [port] = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    settings = {"ENDPOINT": endpoint, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    for name, value in {**settings, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with subprocess.Popen([MOTO, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        make_bucket(f"{endpoint}/bucket")
        yield "s3://bucket/store.lance"
        server.terminate()


def make_bucket(address: str) -> None:
    """As soon as the server answers."""
    end = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="PUT"), timeout=10).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@pytest.mark.slow
def test_a_store_on_s3(bucket: str) -> None:
    store = EmbeddingStore.create(bucket, id_type="int64", dim=2)
    store.upsert(np.array([1, 2, 3]), np.ones([3, 2]), encoder="e")
    store.tag("ranker-1", 2)
    writers = [
        subprocess.Popen([sys.executable, "-c", RIVAL, str(writer)], stdout=subprocess.PIPE, text=True)
        for writer in (1, 2, 3)
    ]
    said = [json.loads(line) for writer in writers for line in writer.communicate(timeout=300)[0].splitlines()]
    expected = {1: 1, 2: 1, 3: 1}
    for _, ids, value in sorted(said):
        expected |= dict.fromkeys(ids, value)
    assert len(said) == 15
    assert contents(store) == expected
    assert contents(store, 2) == {1: 1, 2: 1, 3: 1}
    assert sorted(store.changes(2).item_ids) == sorted(set(expected) - {3})
    assert store.compact(keep_versions=1) > 0
    assert store.versions[0] == 2
    assert contents(store) == expected


def contents(store: EmbeddingStore, version: int | None = None) -> dict[int, int]:
    stored = store.read(version)
    return dict(zip(stored.item_ids.tolist(), stored.embeddings[:, 0].astype(int).tolist(), strict=True))
