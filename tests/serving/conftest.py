"""A model folder and a server on it, shared by every test of serving: made once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.serving.server import Server
from tests.serving.publishing import publish

BIG = 2**53 + 1  # the first integer that a float64 cannot hold


class Ranker(tf.Module):
    """Hash table + rows, as in an exported ranker; small enough to be checked by hand.

    Item 7 has the embedding (1, 2), item BIG has (3, 4), an unknown item (0, 0); all are multiplied by `scale`.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.rows = tf.Variable([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
        self.index = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int32, 0, empty_key=-1, deleted_key=-2)
        self.index.insert(tf.constant([7, BIG], tf.int64), tf.constant([1, 2]))
        self.scale = tf.constant(scale)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "item_id")])
    def lookup(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        embedding = self.scale * tf.gather(self.rows, self.index.lookup(item_id))
        return {"embedding": embedding, "item_id": tf.identity(item_id)}

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3], tf.int64, "history"), tf.TensorSpec([None], tf.string, "query")]
    )
    def predict(self, history: tf.Tensor, query: tf.Tensor) -> dict[str, tf.Tensor]:
        # The table takes keys of rank 1 only.
        behaviours = tf.reshape(self.index.lookup(tf.reshape(history, [-1])), tf.shape(history))
        score = tf.reduce_sum(tf.gather(self.rows, behaviours), axis=[1, 2]) * self.scale
        return {"score": score, "query": tf.strings.join([query, "!"])}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "path")])
    def read(self, path: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"content": tf.io.read_file(path)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string, "folder")])
    def wait(self, folder: tf.Tensor) -> dict[str, tf.Tensor]:
        """Writes the file `started`, and answers once there is a file `go`."""
        with tf.control_dependencies([tf.io.write_file(folder + "/started", "")]):
            polls = tf.while_loop(
                lambda i: tf.size(tf.io.matching_files(folder + "/go")) == 0, lambda i: [i + 1], [tf.constant(1)]
            )
        return {"polls": polls[0]}

    def save(self, folder: Path) -> None:
        signatures = {
            "serving_default": self.predict,
            "predict": self.predict,
            "lookup": self.lookup,
            "read": self.read,
            "wait": self.wait,
        }
        tf.saved_model.save(self, str(folder), signatures=signatures)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[tf.Tensor]:
    """The hash table of each `Ranker` that is loaded in this test, for as long as it is not destroyed."""
    load, handles = tf.saved_model.load, []

    def observed(path: str) -> tf.Module:
        model = load(path)
        handles.append(model.index.resource_handle)
        return model

    monkeypatch.setattr(tf.saved_model, "load", observed)
    return handles


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ranker` in version 10 (and older ones that hold no model: they must not be touched), `other` in version 3."""
    folder = tmp_path_factory.mktemp("models")
    Ranker(scale=1.0).save(folder / "ranker" / "10")
    for ignored in ("1", "2", "tmp", "-11", "1e3", str(2**63)):
        (folder / "ranker" / ignored).mkdir()
    (folder / "ranker" / "99").write_text("a file, no version folder")
    Ranker(scale=100.0).save(folder / "other" / "0003")
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    with Server(models, port=0) as server:
        yield server


@pytest.fixture(scope="session")
def address(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    """Inputs of `predict`; by hand the scores are 1 + 2 + 3 + 4 = 10 and 0 + 3 + 4 + 3 + 4 = 14."""
    return {"history": np.array([[7, BIG, -5], [0, BIG, BIG]]), "query": np.array([b"red", "schön".encode()], object)}


@pytest.fixture
def old(models: Path) -> Path:
    """A saved `Ranker` with the scale 1: item 7 has the embedding (1, 2)."""
    return models / "ranker" / "10"


@pytest.fixture
def new(models: Path) -> Path:
    """A saved `Ranker` with the scale 100: item 7 has the embedding (100, 200)."""
    return models / "other" / "0003"


@pytest.fixture
def folder(old: Path, tmp_path: Path) -> Path:
    """The versions of `ranker`: the old one as version 1."""
    (tmp_path / "ranker").mkdir()
    publish(old, tmp_path / "ranker" / "1")
    return tmp_path / "ranker"
