"""The signatures of a table, in a SavedModel: what goes in and out, joined requests, padding, the order of versions."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingTable, StoredEmbeddings
from mim_tf.representation.signatures import table_signatures

DIM, VERSION = 2, 4
ITEMS = {"int64": np.array([3, 10**12, -7]), "string": np.array(["mug", "dress", "ü"], object)}
NEW = {"int64": [5, 6], "string": ["cup", "hat"]}
PADDING = {"int64": -1, "string": ""}
VECTORS = np.array([[1, 2], [3, 4], [5, 6]], np.float16)
Answer = dict[str, np.ndarray]
Call = Callable[..., Answer]


def stored_items(kind: str) -> StoredEmbeddings:
    """Three items in the slots 0, 3 and 6 of 7, so that all are in the first of 3 shards, with their rows there."""
    whole = StoredEmbeddings(ITEMS[kind], np.array([0, 3, 6]), VECTORS, "e", VERSION, store="f" * 32, slots=7)
    return whole.shard(0, 3)


def served(kind: str, folder: Path, **options: Any) -> Call:
    """The saved and reloaded table: a function of a signature's name and inputs."""
    holder, stored = tf.Module(), stored_items(kind)
    holder.table = EmbeddingTable.of(stored, spare=5, **options)
    tf.saved_model.save(holder, str(folder), signatures=table_signatures(holder.table, stored))
    model = tf.saved_model.load(str(folder))

    def call(name: str, **inputs: Any) -> Answer:
        specs = model.signatures[name].structured_input_signature[1]
        tensors = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in model.signatures[name](**tensors).items()}

    call.signatures = model.signatures  # type: ignore[attr-defined]
    return call


@pytest.fixture(params=sorted(ITEMS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def call(kind: str, tmp_path: Path) -> Call:
    return served(kind, tmp_path)


def change(
    ids: list[Any], rows: list[int], since: int = VERSION, version: int = VERSION + 1, sequence: int = 0
) -> dict[str, Any]:
    """An upsert that gives each item its row as its vector."""
    numbers = {"since": since, "version": version, "sequence": sequence}
    many = {name: [number] * len(ids) for name, number in numbers.items()}
    return {"item_id": ids, "row": rows, "embedding": np.repeat(np.array(rows)[:, np.newaxis], DIM, 1), **many}


def test_lookup(call: Call, kind: str) -> None:
    answer = call("lookup", item_id=[ITEMS[kind][1], NEW[kind][0], PADDING[kind], ITEMS[kind][0], ITEMS[kind][1]])
    np.testing.assert_array_equal(answer["embedding"], [[3, 4], [0, 0], [0, 0], [1, 2], [3, 4]])
    assert answer["embedding"].dtype == np.float16
    assert answer["hit"].tolist() == [True, False, False, True, True]
    assert answer["version"].tolist() == [VERSION] * 5


def test_version_tells_of_the_shard_and_the_store(call: Call) -> None:
    answer = call("version", request=[7, -1])
    # Of 7 slots shard 0 of 3 has 0, 3 and 6: its rows are 0, 1 and 2, and 5 are spare.
    expected = {"version": VERSION, "capacity": 8, "shard": 0, "shards": 3, "slots": 7, "store": b"f" * 32, "dim": DIM}
    expected["sequence"] = 0
    assert {name: values.tolist() for name, values in answer.items()} == {
        name: [value] * 2 for name, value in expected.items()
    }


def test_upsert_changes_what_lookup_and_version_say(call: Call, kind: str) -> None:
    ids = [NEW[kind][0], ITEMS[kind][2]]
    assert call("upsert", **change(ids, [7, 3]))["version"].tolist() == [VERSION + 1] * 2
    answer = call("lookup", item_id=[*ids, ITEMS[kind][0]])
    np.testing.assert_array_equal(answer["embedding"], [[7, 7], [3, 3], [1, 2]])
    assert answer["version"].tolist() == [VERSION + 1] * 3
    assert call("version", request=[0])["version"].tolist() == [VERSION + 1]


def test_padding_is_no_item(call: Call, kind: str) -> None:
    """Rows that no table has and vectors that are no numbers come with it."""
    padded = change([PADDING[kind], NEW[kind][0], PADDING[kind]], [-5, 6, 10**6])
    padded["embedding"] = [[np.nan, np.inf], [8, 9], [np.nan, 0]]
    assert call("upsert", **padded)["version"].tolist() == [VERSION + 1] * 3
    answer = call("lookup", item_id=[PADDING[kind], NEW[kind][0]])
    np.testing.assert_array_equal(answer["embedding"], [[0, 0], [8, 9]])
    assert answer["hit"].tolist() == [False, True]


def test_padding_alone_moves_the_version(call: Call, kind: str) -> None:
    answer = call("upsert", **change([PADDING[kind]], [0], version=9))
    assert answer["version"].tolist() == [9]
    np.testing.assert_array_equal(call("lookup", item_id=ITEMS[kind])["embedding"], VECTORS)


def test_no_rows_are_no_change(call: Call) -> None:
    assert call("lookup", item_id=[])["embedding"].shape == (0, DIM)
    empty = change([], []) | {"embedding": np.zeros([0, DIM])}
    assert call("upsert", **empty)["version"].shape == (0,)
    assert call("version", request=[0])["version"].tolist() == [VERSION]


def test_joined_requests_get_their_answers_joined(call: Call, kind: str) -> None:
    """As a batching server joins and splits them."""
    change_it = change([NEW[kind][0]], [5]), change([NEW[kind][1], PADDING[kind]], [6, 0])
    assert call("upsert", **joined(change_it))["version"].tolist() == [VERSION + 1] * 3
    np.testing.assert_array_equal(call("lookup", item_id=NEW[kind])["embedding"][:, 0], [5, 6])
    lookups = [{"item_id": [ITEMS[kind][0], NEW[kind][0]]}, {"item_id": [NEW[kind][1]]}]
    for name, requests in (("lookup", lookups), ("version", [{"request": [1]}] * 2)):
        apart = [call(name, **request) for request in requests]
        for key, values in call(name, **joined(requests)).items():
            np.testing.assert_array_equal(values, np.concatenate([answer[key] for answer in apart]))


def joined(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {key: [value for request in requests for value in request[key]] for key in requests[0]}


def test_calls_that_follow_another_one_are_refused(call: Call, kind: str) -> None:
    """A piece of a change that comes to a table which has not had the one before it, or had another one since."""
    assert call("version", request=[0])["sequence"].tolist() == [0]
    call("upsert", **change([NEW[kind][0]], [5], version=VERSION))
    assert call("version", request=[0])["sequence"].tolist() == [1]
    for sequence in (0, 2):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)`sequence` must be the number of changes.*1"):
            call("upsert", **change([NEW[kind][1]], [6], sequence=sequence))
    assert call("lookup", item_id=NEW[kind])["hit"].tolist() == [True, False]
    call("upsert", **change([NEW[kind][1]], [6], sequence=1))
    assert call("version", request=[0])["version"].tolist() == [VERSION + 1]


def test_calls_that_change_nothing_are_not_counted(call: Call, kind: str) -> None:
    """Padding alone, as a server's warm-up sends it, and what is older than the table."""
    told = call("version", request=[0])
    nothing = [-1] if kind == "int64" else [""]
    call("upsert", **change(nothing, [0], since=0, version=0, sequence=-1))
    call("upsert", **change([NEW[kind][0]], [5], since=0, version=VERSION - 1, sequence=0))
    for name, values in call("version", request=[0]).items():
        np.testing.assert_array_equal(values, told[name])


def test_nothing_is_a_scalar(call: Call) -> None:
    for signature in call.signatures.values():  # type: ignore[attr-defined]
        for spec in [*signature.structured_input_signature[1].values(), *signature.structured_outputs.values()]:
            assert spec.shape.rank
            assert spec.shape[0] is None


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"row": [5]}, "must have as many rows"),
        ({"row": [5, 6, 7]}, "must have as many rows"),
        ({"since": [VERSION]}, "must have as many rows"),
        ({"row": [5, 8]}, "must be below 8"),
        ({"embedding": [[1, 2], [1, np.nan]]}, "must be finite in float16"),
        ({"since": [VERSION, VERSION + 2]}, "must be a version that the table has"),
    ],
)
def test_what_is_refused_changes_nothing(call: Call, kind: str, changed: dict[str, Any], match: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        call("upsert", **change(NEW[kind], [5, 6]) | changed)
    assert not call("lookup", item_id=NEW[kind])["hit"].any()
    assert call("version", request=[0])["version"].tolist() == [VERSION]


def test_reserved_ids_that_are_no_padding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="must not hold reserved ids"):
        served("int64", tmp_path)("upsert", **change([np.iinfo(np.int64).min], [5]))


def test_eight_bits(tmp_path: Path) -> None:
    call = served("int64", tmp_path, dtype="int8")
    call("upsert", **change([5], [6]))
    # A row keeps its largest component; another within half a step, a 127th of that.
    np.testing.assert_allclose(call("lookup", item_id=[3, 5])["embedding"], [[1, 2], [6, 6]], atol=2 / 127)


def test_embeddings_are_of_the_version_told_or_later(tmp_path: Path) -> None:
    """An item whose vector is the number of the version; its row alternates, as those of a store do."""
    call = served("int64", tmp_path)
    late: list[Any] = []
    done = threading.Event()

    def look_up() -> None:
        while not done.is_set():
            answer = call("lookup", item_id=[5] * 50_000)  # long enough for changes to come in between
            if answer["hit"].all() and answer["embedding"].min() < answer["version"][0]:
                late.append(answer)

    readers = [threading.Thread(target=look_up) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in range(VERSION + 1, 300):
        vector = {"embedding": [[version, version]]}
        call("upsert", **change([5], [5 + version % 2], version - 1, version, version - VERSION - 1) | vector)
    done.set()
    for reader in readers:
        reader.join()
    assert not late
