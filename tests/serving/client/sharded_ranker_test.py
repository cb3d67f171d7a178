"""The ranker whose table lies elsewhere: the scores of the model with the table inside, and what is refused."""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.errors import ServingError
from mim_tf.representation import EmbeddingStore
from mim_tf.representation.slots import shards_of
from mim_tf.serving.client import Client, RankerClient, open_ranker
from mim_tf.serving.server import Server
from mim_tf.settings import Settings
from tests.export.toy_run import PADDING, UNKNOWN, Rows, expected, impressions, make_run

# The same without a training model and its exports is in open_ranker_test.py.
pytestmark = [pytest.mark.legacy_keras, pytest.mark.slow]

SHARDS = 2


class Run(NamedTuple):
    """A finished run and what was exported of it: `baked`, version 1, with its table; `apart`, version 2, in shards."""

    settings: Settings
    workdir: Path
    id_type: str

    @property
    def store(self) -> EmbeddingStore:
        return EmbeddingStore(self.workdir / "represent" / "store.lance")

    @property
    def rows(self) -> Rows:
        return impressions(self.workdir, self.id_type)

    def publish(self, folder: str, shards: int, *, network: bool = False) -> list[Path]:
        from mim_tf.export.publication import publish_shards

        return publish_shards(self.settings, self.workdir, self.workdir / folder, shards, network=network)


@pytest.fixture(scope="module", params=sorted(PADDING))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    from mim_tf.export.publication import publish_ranker

    folder = tmp_path_factory.mktemp(request.param)
    run = Run(make_run(folder, request.param), folder, request.param)
    publish_ranker(run.settings, folder, folder / "baked")
    run.publish("apart", SHARDS, network=True)
    return run


def serve(folder: Path, **options: Any) -> Server:
    return Server(folder, port=0, **{"poll_seconds": None, **options})


def address(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def baked(run: Run) -> Iterator[Client]:
    with serve(run.workdir / "baked") as server, Client(address(server), timeout=60) as client:
        yield client


@pytest.fixture
def apart(run: Run) -> Iterator[str]:
    """The address of a server of all parts."""
    with serve(run.workdir / "apart") as server:
        yield address(server)


def sharded(apart: str, shards: int = SHARDS, **options: Any) -> RankerClient:
    return open_ranker(apart, [apart] * shards, **{"timeout": 60, **options})


def cut(rows: Rows, count: int, length: int) -> Rows:
    return {name: rows[name][:count, :length] if name.startswith("history_") else rows[name][:count] for name in rows}


@pytest.mark.parametrize(("count", "length"), [(32, 6), (1, 6), (0, 6), (32, 0)])
def test_the_scores_are_those_of_the_model_with_its_table(
    run: Run, baked: Client, apart: str, count: int, length: int
) -> None:
    rows = cut(run.rows, count, length)
    with sharded(apart) as ranker:
        answer = ranker.predict(rows)
    assert list(answer) == ["probability"]
    np.testing.assert_allclose(answer["probability"], baked.predict("ranker", rows)["probability"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(answer["probability"], expected(run.settings, run.workdir, rows), rtol=0, atol=1e-6)


def test_candidates_are_ranked_as_by_the_model_with_its_table(run: Run, baked: Client, apart: str) -> None:
    """Four users with eight candidates each; of a user's rows, all have the history of the first."""
    rows = run.rows
    targets = ("item_id", "category", "item_title")
    users = {name: rows[name].reshape(4, 8) if name in targets else rows[name][::8] for name in rows}
    with sharded(apart) as ranker:
        ranking = ranker.rank(users, top_k=3)
    whole = baked.predict("ranker", {**users, "top_k": np.full(4, 3)}, signature="rank")
    pairs = {name: rows[name] if name in targets else np.repeat(rows[name][::8], 8, axis=0) for name in rows}
    by_pair = expected(run.settings, run.workdir, pairs).reshape(4, 8)
    np.testing.assert_allclose(ranking.probability, by_pair, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ranking.top_probability, -np.sort(-by_pair, axis=1)[:, :3], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ranking.top_item_id, whole["top_item_id"])
    np.testing.assert_allclose(ranking.probability, whole["probability"], rtol=0, atol=1e-6)


def test_ids_may_be_plain_lists_and_text(run: Run, apart: str) -> None:
    rows = run.rows
    plain: dict[str, Any] = {name: column.tolist() for name, column in rows.items()}
    if run.id_type == "string":
        plain["item_id"] = [item_id.decode() for item_id in rows["item_id"]]
        plain["history_item_id"] = np.array([[item_id.decode() for item_id in row] for row in rows["history_item_id"]])
    with sharded(apart) as ranker:
        np.testing.assert_array_equal(ranker.predict(plain)["probability"], ranker.predict(rows)["probability"])


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_smaller_integers_are_the_same_ids(run: Run, apart: str, dtype: type[np.integer]) -> None:
    if run.id_type == "string":
        pytest.skip("ids are strings")
    names = ("item_id", "history_item_id")
    wide = run.rows | {name: np.clip(run.rows[name], 0, 2**31 - 1) for name in names}  # unsigned ones have no padding
    assert len(np.unique(wide["item_id"])) > 10
    with sharded(apart) as ranker:
        answer = ranker.predict(wide | {name: wide[name].astype(dtype) for name in names})
    np.testing.assert_allclose(answer["probability"], expected(run.settings, run.workdir, wide), rtol=0, atol=1e-6)


def test_each_item_is_asked_for_once_where_it_is(run: Run, apart: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[Any]] = {}
    ask = Client.ask

    def recorded(self: Client, call: Any, deadline: Any) -> Any:
        if call.request.model_spec.signature_name == "lookup":
            asked[call.model] = asked.get(call.model, []) + tf.make_ndarray(call.request.inputs["item_id"]).tolist()
        return ask(self, call, deadline)

    rows = run.rows
    with sharded(apart) as ranker:
        monkeypatch.setattr(Client, "ask", recorded)
        ranker.predict(rows)
    given = {*rows["item_id"].tolist(), *rows["history_item_id"].ravel().tolist()} - {PADDING[run.id_type]}
    dtype = np.int64 if run.id_type == "int64" else object
    for shard in range(SHARDS):
        wanted = [item for item in given if shards_of(np.array([item], dtype), run.store.slots, SHARDS) == shard]
        assert sorted(asked[f"ranker_table_{shard}"]) == sorted(wanted)


def test_threads_share_it(run: Run, apart: str) -> None:
    rows = run.rows
    batches = [{name: column[row:][:4] for name, column in rows.items()} for row in range(20)]
    with sharded(apart) as ranker, ThreadPoolExecutor(6) as threads:
        alone = [ranker.predict(batch)["probability"] for batch in batches]
        together = list(threads.map(lambda batch: ranker.predict(batch)["probability"], batches * 3))
    for one, other in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(one, other)


def upsert(client: Client, model: str, part: Any, since: int) -> None:
    numbers = {"since": since, "version": part.version, "sequence": 0}
    many = {name: np.full(len(part.rows), number) for name, number in numbers.items()}
    change = {"item_id": part.item_ids, "row": part.rows, "embedding": part.embeddings, **many}
    client.predict(model, change, signature="upsert")


def test_upserts_and_other_numbers_of_shards(run: Run, baked: Client, apart: str, tmp_path: Path) -> None:
    """A new item and a changed one reach both; then the store is cut into three, for the same network."""
    rows = run.rows
    run = run._replace(workdir=Path(shutil.copytree(run.workdir, tmp_path / "copy")))  # its store will change
    with sharded(apart) as ranker, Client(apart) as client:
        before = ranker.predict(rows)["probability"]
        since = int(client.predict("ranker_table_0", {"request": [0]}, signature="version")["version"][0])
        new = UNKNOWN[run.id_type] if run.id_type == "int64" else UNKNOWN["string"].decode()
        known = run.store.read().item_ids[0]
        vectors = np.array([[1, -2, 3, 4], [-5, 6, 7, 8]])
        run.store.upsert(np.array([new, known], run.store.read().item_ids.dtype), vectors, encoder="random")
        changes = run.store.changes(since)
        upsert(baked, "ranker", changes, since)
        for shard in range(SHARDS):
            upsert(client, f"ranker_table_{shard}", changes.shard(shard, SHARDS), since)
        after = ranker.predict(rows)["probability"]
    # Rows 0 and 1 hold the new item, as the target and among the behaviours.
    assert np.all(before[:2] != after[:2])
    trained = expected(run.settings, run.workdir, rows)
    np.testing.assert_allclose(after, trained, rtol=0, atol=1e-6)
    np.testing.assert_allclose(baked.predict("ranker", rows)["probability"], trained, rtol=0, atol=1e-6)

    run.publish("three", 3)
    shutil.copytree(run.workdir / "apart" / "ranker", run.workdir / "three" / "ranker")
    with serve(run.workdir / "three") as server, sharded(address(server), 3) as ranker:
        np.testing.assert_allclose(ranker.predict(rows)["probability"], trained, rtol=0, atol=1e-6)


def by_hand(run: Run, apart: str, without: int) -> np.ndarray:
    """The network's scores, its contents put together one by one, those of one shard left out."""
    stored, rows = run.store.read(run.store.tags["ranker-2"]), run.rows
    table = dict(zip(stored.item_ids.tolist(), stored.embeddings, strict=True))
    for item_id in stored.shard(without, SHARDS).item_ids.tolist():
        del table[item_id]

    def contents(item_ids: np.ndarray) -> np.ndarray:
        names = [item_id.decode() if isinstance(item_id, bytes) else item_id for item_id in item_ids.ravel().tolist()]
        vectors = [table.get(name, np.zeros(4, np.float16)) for name in names]
        return np.array(vectors).reshape(*item_ids.shape, 4)

    given = {"item_content": contents(rows["item_id"]), "history_content": contents(rows["history_item_id"])}
    with Client(apart) as client:
        return client.predict("ranker", rows | given, signature="predict")["probability"]


def test_a_shard_that_does_not_answer(run: Run, apart: str) -> None:
    with serve(run.workdir / "apart") as other:
        addresses = [apart, address(other)]
        strict = open_ranker(apart, addresses, timeout=60)
        lenient = open_ranker(apart, addresses, timeout=60, missing="zeros")
    with strict, lenient:
        with pytest.raises(ServingError, match=rf'model "ranker_table_1" at {addresses[1]}: UNAVAILABLE'):
            strict.predict(run.rows)
        answer = lenient.predict(run.rows)
        np.testing.assert_allclose(answer["probability"], by_hand(run, apart, without=1), rtol=0, atol=1e-6)
        assert answer["unanswered"].tolist() == [1]


def test_a_version_that_goes_is_noticed(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.workdir / "apart", tmp_path / "models")
    with serve(tmp_path / "models", poll_seconds=0.05) as server, sharded(address(server)) as ranker:
        before = ranker.predict(run.rows)["probability"]
        for model in ("ranker", "ranker_table_0", "ranker_table_1"):
            shutil.copytree(tmp_path / "models" / model / "2", tmp_path / "models" / model / "partial")
            (tmp_path / "models" / model / "partial").rename(tmp_path / "models" / model / "7")
        wait_for(lambda: set(server.versions.values()) == {7})
        np.testing.assert_array_equal(ranker.predict(run.rows)["probability"], before)

        cut_again = run.publish("cut_again", 3)[0]  # a table cut otherwise must not answer for this one
        shutil.copytree(cut_again, tmp_path / "partial")
        (tmp_path / "partial").rename(tmp_path / "models" / "ranker_table_0" / "8")
        wait_for(lambda: server.versions["ranker_table_0"] == 8)
        with pytest.raises(ServingError, match=r"`tables\[0\]` must serve shard 0 of 2\. Received: shard 0 of 3\."):
            ranker.predict(run.rows)


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def refused(tables: list[str], ranker: str, match: str) -> None:
    with pytest.raises(ServingError, match=match):
        open_ranker(ranker, tables, timeout=60)


def test_tables_in_the_wrong_place_are_refused(run: Run, apart: str, tmp_path: Path) -> None:
    refused([apart], apart, r"`tables\[0\]` must serve shard 0 of 1\. Received: shard 0 of 2\.")
    refused([apart] * 3, apart, r"the p-th of `tables` the model that ends in _table_p\. .*ranker_table_2.*NOT_FOUND")
    for one, other in ((0, 1), (1, 0)):
        swapped = tmp_path / f"ranker_table_{one}"
        swapped.symlink_to(run.workdir / "apart" / f"ranker_table_{other}")
    with serve(tmp_path) as server:
        refused([address(server)] * 2, apart, r"`tables\[0\]` must serve shard 0 of 2\. Received: shard 1 of 2\.")


def test_the_network_must_be_alone_and_of_the_tables_store(
    run: Run, baked: Client, apart: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(run.workdir / "baked") as server:
        refused([apart] * 2, address(server), r'`mim_tf\.export --shards` writes.*FAILED_PRECONDITION.*key "contents"')
    stored = run.store.read()
    other = EmbeddingStore.create(tmp_path / "other.lance", id_type=run.id_type, dim=4, slots=7)
    other.upsert(stored.item_ids, stored.embeddings, encoder="random")
    for module in ("mim_tf.export.publication", "mim_tf.training.tables"):
        monkeypatch.setattr(f"{module}.store_path", lambda *_: other.path)
    run.publish("other", SHARDS)
    with serve(run.workdir / "other") as server:
        match = rf"`tables\[0\]` must serve embeddings of the store .*{stored.store}.*Received: .*{other.identity}"
        refused([address(server)] * 2, apart, match)


def test_arguments_are_checked(apart: str, run: Run) -> None:
    with pytest.raises(ValueError, match=r"`tables` must be a list of addresses, one for each shard\. Received: "):
        open_ranker(apart, apart)
    with pytest.raises(ValueError, match=r"`missing` must be error or zeros\. Received: 'none'\."):
        sharded(apart, missing="none")
    with sharded(apart) as ranker:
        with pytest.raises(ValueError, match=r"`inputs` must hold item_id and history_item_id\. Received: category\."):
            ranker.predict({"category": ["mug"]})
        for wrong in ([1.5], [None], [[1], [1, 2]], [True], [2**63], [2**64], np.uint64([1]), np.array([1], object)):
            message = r'`inputs\["item_id"\]` must be an array of integers that fit int64 or of strings, .*Received: '
            with pytest.raises(ValueError, match=message):
                ranker.predict({**run.rows, "item_id": wrong})
        other = {"int64": ["mug"], "string": [7]}[run.id_type]
        with pytest.raises(ValueError, match=r"item_id and history_item_id must be of one type\. Received: "):
            ranker.predict({**run.rows, "item_id": other})
