"""Rankings behind one call: the table inside and in shards give the same numbers, which NumPy gives too."""

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.errors import ServingError
from mim_tf.representation.slots import shards_of
from mim_tf.serving.client import AsyncClient, Client, open_async_ranker, open_ranker
from mim_tf.serving.client.attempts import Attempts
from mim_tf.serving.server import Server
from mim_tf.serving.server.model_config_file import ModelConfigFile
from tests.serving.publishing import publish, wait_until
from tests.serving.scripted import Scripted, serving
from tests.serving.toy_ranker import DIM, UNKNOWN, Rows, Shop, make_shop

SHARDS = 3
Addresses = tuple[str, list[str]]
# What is of servers and calls, and not of ids.
of_integers = pytest.mark.parametrize("shop", ["int64"], indirect=True)


@pytest.fixture(scope="module", params=["int64", "string"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return make_shop(tmp_path_factory.mktemp(request.param), request.param, SHARDS)


def serve(models: Path | ModelConfigFile, running: ExitStack) -> str:
    return f"127.0.0.1:{running.enter_context(Server(models, port=0, poll_seconds=None)).port}"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Another store's, with integers and without shards."""
    return make_shop(tmp_path_factory.mktemp("other"), "int64", 0)


@pytest.fixture(scope="module")
def servers(shop: Shop) -> Iterator[dict[str, Addresses]]:
    """The addresses by which each way to serve is opened."""
    with ExitStack() as running:
        baked, network = (serve(shop.models / name, running) for name in ("baked", "network"))
        tables = [serve(shop.models / f"table_{shard}", running) for shard in range(SHARDS)]
        yield {"baked": (baked, []), "split": (network, tables)}


class Awaited:
    """An asynchronous ranker with the methods of the other; each call has an event loop of its own."""

    def __init__(self, addresses: Addresses, **options: Any) -> None:
        self._addresses, self._options = addresses, options

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            async with open_async_ranker(*self._addresses, **self._options) as ranker:
                methods = {"predict": ranker.predict, "rank": ranker.rank, "lookup": ranker.lookup}
                return await methods[method](*arguments, **options)

        return lambda *arguments, **options: asyncio.run(call(*arguments, **options))


@pytest.fixture(params=["baked", "split", "baked async", "split async"])
def ranker(request: pytest.FixtureRequest, servers: dict[str, Addresses]) -> Iterator[Any]:
    way, _, kind = request.param.partition(" ")
    if kind:
        yield Awaited(servers[way], timeout=60)
    else:
        with open_ranker(*servers[way], timeout=60) as opened:
            yield opened


@pytest.fixture
def rows(shop: Shop) -> Rows:
    """Three users, five candidates, four behaviours; unknown items, padding and repetitions are among them."""
    item_id = [[0, 1, 2, 3, 4], [5, 5, 0, UNKNOWN, -1], [39, 38, -1, -1, -1]]
    history = [[7, 8, 9, 0], [UNKNOWN, 3, 3, -1], [-1, -1, -1, -1]]
    boost = np.array([0.5, -1.0, 0.0], np.float32)
    return {"item_id": shop.ids(item_id), "history_item_id": shop.ids(history), "boost": boost}


def best(rows: Rows, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows["item_id"], order, 1), np.take_along_axis(scores, order, 1)


def test_users_candidates_are_ranked(shop: Shop, ranker: Any, rows: Rows) -> None:
    ranking = ranker.rank(rows, top_k=3)
    scores = shop.expected(rows)
    np.testing.assert_allclose(ranking.probability, scores, rtol=0, atol=1e-6)
    items, probabilities = best(rows, scores, 3)
    np.testing.assert_array_equal(ranking.top_item_id, items)
    np.testing.assert_allclose(ranking.top_probability, probabilities, rtol=0, atol=1e-6)
    assert ranking.unanswered == ()
    assert ranking.probability[1, 4] == 0  # padding


def test_one_user_leaves_the_first_dimension_out(shop: Shop, ranker: Any, rows: Rows) -> None:
    one = {"item_id": rows["item_id"][0], "history_item_id": rows["history_item_id"][0].tolist(), "boost": 0.5}
    ranking = ranker.rank(one, top_k=2)
    alone = {name: column[:1] for name, column in rows.items()}
    scores = shop.expected(alone)
    np.testing.assert_allclose(ranking.probability, scores[0], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ranking.top_item_id, best(alone, scores, 2)[0][0])
    assert ranking.top_probability.shape == (2,)


def test_flat_histories_are_the_ragged_signatures(shop: Shop, ranker: Any, rows: Rows) -> None:
    flat = {"history_item_id": shop.ids([7, 8, 9, 0, UNKNOWN, 3, 3]), "history_length": [4, 3, 0]}
    ranking = ranker.rank(rows | flat)
    np.testing.assert_allclose(ranking.probability, shop.expected(rows), rtol=0, atol=1e-6)
    one = {"item_id": rows["item_id"][0], "boost": 0.5, "history_item_id": shop.ids([7, 8, 9, 0]), "history_length": 4}
    np.testing.assert_allclose(ranker.rank(one).probability, shop.expected(rows)[0], rtol=0, atol=1e-6)


def test_a_user_without_history_may_have_empty_lists(shop: Shop, ranker: Any, rows: Rows) -> None:
    """Nothing but the model tells whether an empty list holds integers or strings."""
    nobody = {"item_id": rows["item_id"], "boost": rows["boost"], "history_item_id": shop.ids(np.full([3, 1], -1))}
    scores = shop.expected(nobody)
    ranking = ranker.rank({**nobody, "history_item_id": [[], [], []]})
    np.testing.assert_allclose(ranking.probability, scores, rtol=0, atol=1e-6)
    one = {"item_id": rows["item_id"][0], "boost": 0.5, "history_item_id": []}
    np.testing.assert_allclose(ranker.rank(one).probability, scores[0], rtol=0, atol=1e-6)
    flat = {**nobody, "history_item_id": [], "history_length": [0, 0, 0]}
    np.testing.assert_allclose(ranker.rank(flat).probability, scores, rtol=0, atol=1e-6)
    pairs = {**nobody, "item_id": rows["item_id"][:, 0], "history_item_id": [[], [], []]}
    np.testing.assert_allclose(ranker.predict(pairs)["probability"], scores[:, 0], rtol=0, atol=1e-6)
    assert ranker.rank({"item_id": [], "boost": 0.5, "history_item_id": []}).top_item_id.shape == (0,)
    assert ranker.lookup([]).embedding.shape == (0, DIM)


def test_a_call_may_have_a_timeout_of_its_own(
    shop: Shop, ranker: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    answer = Attempts.answer

    def recorded(self: Attempts, call: Any, deadline: Any) -> Any:
        given.append(deadline.timeout)
        return answer(self, call, deadline)

    monkeypatch.setattr(Attempts, "answer", recorded)
    pairs = rows | {"item_id": rows["item_id"][:, 0]}
    for ask in (partial(ranker.rank, rows), partial(ranker.predict, pairs), partial(ranker.lookup, shop.ids([1]))):
        ask(timeout=123)
        assert given[-1] == 123
        ask()
        assert given[-1] == 60
        with pytest.raises(ValueError, match=r"`timeout` must be positive\. Received: 0\."):
            ask(timeout=0)


def test_top_k_is_an_argument(ranker: Any, rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"`inputs` must hold item_id, and not top_k, which is an argument"):
        ranker.rank({**rows, "top_k": [1, 1, 1]})


@pytest.mark.parametrize("top_k", [10, [1, 1, 7], np.int32(5)])
def test_the_most_of_top_k_counts_up_to_all_candidates(ranker: Any, rows: Rows, top_k: Any) -> None:
    assert ranker.rank(rows, top_k).top_item_id.shape == (3, 5)


@pytest.mark.parametrize("users", [0, 1])
def test_few_users(shop: Shop, ranker: Any, rows: Rows, users: int) -> None:
    few = {name: column[:users] for name, column in rows.items()}
    np.testing.assert_allclose(ranker.rank(few).probability, shop.expected(few), rtol=0, atol=1e-6)


def test_more_than_were_asked_for_are_left_out(
    servers: dict[str, Addresses], rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that joins requests ranks all of them to the largest `top_k`: here another one asked for 5."""
    ask = Client.ask

    def joined(self: Client, call: Any, deadline: Any) -> Any:
        if "top_k" in call.request.inputs:
            call.request.inputs["top_k"].CopyFrom(tf.make_tensor_proto(np.full(3, 5)))
        return ask(self, call, deadline)

    with open_ranker(*servers["baked"], timeout=60) as ranker:
        alone = ranker.rank(rows, top_k=[1, 2, 1])
        monkeypatch.setattr(Client, "ask", joined)
        ranking = ranker.rank(rows, top_k=[1, 2, 1])
    np.testing.assert_array_equal(ranking.top_item_id, alone.top_item_id)
    assert ranking.top_item_id.shape == ranking.top_probability.shape == (3, 2)


def test_rows_are_scored(shop: Shop, ranker: Any, rows: Rows) -> None:
    pairs = rows | {"item_id": rows["item_id"][:, 0]}
    answer = ranker.predict(pairs)
    assert list(answer) == ["probability"]
    np.testing.assert_allclose(answer["probability"], shop.expected(rows)[:, 0], rtol=0, atol=1e-6)


def test_items_are_looked_up(shop: Shop, ranker: Any) -> None:
    wanted = shop.ids([3, UNKNOWN, 3, -1, 39])
    found = ranker.lookup(wanted)
    np.testing.assert_array_equal(found.embedding, shop.contents(wanted).astype(np.float16))
    assert found.hit.tolist() == [True, False, True, False, True]
    assert found.unanswered == ()
    assert ranker.lookup(wanted[:0]).embedding.shape == (0, DIM)


def test_each_item_is_fetched_once_of_the_shard_that_has_it(
    shop: Shop, servers: dict[str, Addresses], rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[Any]] = {}
    shapes: list[tuple[int, ...]] = []
    ask = Client.ask

    def recorded(self: Client, call: Any, deadline: Any) -> Any:
        inputs = call.request.inputs
        if call.request.model_spec.signature_name == "lookup":
            asked.setdefault(call.model, []).extend(tf.make_ndarray(inputs["item_id"]).tolist())
        else:
            shapes.extend(tf.make_ndarray(inputs[name]).shape for name in ("item_content", "history_content"))
        return ask(self, call, deadline)

    with open_ranker(*servers["split"], timeout=60) as ranker:
        monkeypatch.setattr(Client, "ask", recorded)
        ranker.rank(rows)
    given = {*rows["item_id"].ravel().tolist(), *rows["history_item_id"].ravel().tolist()} - {shop.padding}
    for shard in range(SHARDS):
        own = [item for item in given if _shard(shop, item) == shard]
        assert sorted(asked[f"ranker_table_{shard}"]) == sorted(own)
    assert shapes == [(3, 5, DIM), (3, 4, DIM)]  # a user's history once, whatever the number of candidates


def _shard(shop: Shop, item: Any) -> int:
    return int(shards_of(np.array([item], np.int64 if shop.id_type == "int64" else object), 7, SHARDS)[0])


@of_integers
@pytest.mark.parametrize("kind", ["", "async"])
def test_a_shard_that_does_not_answer(shop: Shop, servers: dict[str, Addresses], rows: Rows, kind: str) -> None:
    """Its items are as unknown ones where `zeros` are asked for, else an error."""
    network, tables = servers["split"]
    lost = tuple(item for item in shop.table if _shard(shop, item) == 1)
    wanted = shop.ids(range(10))

    async def awaited(missing: Any, running: ExitStack) -> Any:
        other = serve(shop.models / "table_1", running)
        async with open_async_ranker(network, [tables[0], other, tables[2]], timeout=60, missing=missing) as ranker:
            running.close()
            return await ranker.rank(rows), await ranker.lookup(wanted)

    def waited(missing: Any, running: ExitStack) -> Any:
        other = serve(shop.models / "table_1", running)
        with open_ranker(network, [tables[0], other, tables[2]], timeout=60, missing=missing) as ranker:
            running.close()
            return ranker.rank(rows), ranker.lookup(wanted)

    def asked(missing: Any) -> Any:
        with ExitStack() as running:
            return asyncio.run(awaited(missing, running)) if kind else waited(missing, running)

    with pytest.raises(ServingError, match=r'model "ranker_table_1" at 127.*: UNAVAILABLE: .* 3 attempts failed'):
        asked("error")
    ranking, found = asked("zeros")
    np.testing.assert_allclose(ranking.probability, shop.expected(rows, lost), rtol=0, atol=1e-6)
    assert ranking.unanswered == found.unanswered == (1,)
    assert found.hit.tolist() == [item not in lost for item in wanted.tolist()]


@of_integers
def test_threads_and_tasks_share_it(shop: Shop, servers: dict[str, Addresses], rows: Rows) -> None:
    requests = [{name: np.roll(column, turn, axis=0) for name, column in rows.items()} for turn in range(3)] * 10
    wanted = [shop.expected(request) for request in requests]

    async def awaited() -> list[Any]:
        async with open_async_ranker(*servers["split"], timeout=60) as ranker:
            return await asyncio.gather(*map(ranker.rank, requests))

    with open_ranker(*servers["split"], timeout=60) as ranker, ThreadPoolExecutor(6) as threads:
        waited = list(threads.map(ranker.rank, requests))
    for rankings in (waited, asyncio.run(awaited())):
        for ranking, scores in zip(rankings, wanted, strict=True):
            np.testing.assert_allclose(ranking.probability, scores, rtol=0, atol=1e-6)


@of_integers
def test_one_time_counts_over_all_servers(
    servers: dict[str, Addresses], rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables take 0.2 s, which the network has less; what may be left out has half of the time."""
    given: dict[str, float] = {}
    send = Client._send

    def slow(self: Client, call: Any, seconds: float) -> Any:
        given[call.model] = seconds
        if call.model != "ranker":
            time.sleep(0.2)
        return send(self, call, seconds)

    monkeypatch.setattr(Client, "_send", slow)
    for missing, most in (("error", 60.0), ("zeros", 30.0)):
        opened: Any = open_ranker(*servers["split"], timeout=600, missing=missing)  # type: ignore[arg-type]
        given.clear()
        with opened as ranker:
            ranker.rank(rows, timeout=60)
        assert max(given[f"ranker_table_{shard}"] for shard in range(SHARDS)) <= most
        assert given["ranker"] <= 60 - 0.2


@of_integers
@pytest.mark.parametrize("kind", ["", "async"])
def test_closing_ends_calls_with_an_error_that_says_so(
    servers: dict[str, Addresses], rows: Rows, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the requests under way some wait for an answer, some for a thread; one more comes later."""
    match = r"the client is closed\. Make another one\.|CANCELLED: .*The client was closed meanwhile"
    network, tables = servers["split"]
    began, done = threading.Event(), threading.Event()
    waiting = Scripted(*[lambda: (began.set(), done.wait(60))] * 100)

    def waited(hung: str) -> list[BaseException | None]:
        ranker = open_ranker(network, tables, timeout=60)
        redirect(ranker, Client(hung, timeout=60))
        with ThreadPoolExecutor(100) as threads:
            calls = [threads.submit(ranker.rank, rows) for _ in range(100)]
            began.wait(60)
            ranker.close()
            return [call.exception(60) for call in [*calls, threads.submit(ranker.rank, rows)]]

    async def awaited(hung: str) -> list[Any]:
        async with open_async_ranker(network, tables, timeout=60) as ranker:
            redirect(ranker, AsyncClient(hung, timeout=60))
            calls = [asyncio.create_task(ranker.rank(rows)) for _ in range(100)]
            await asyncio.to_thread(began.wait, 60)
            await ranker.close()
            return await asyncio.gather(*calls, ranker.rank(rows), return_exceptions=True)

    def redirect(ranker: Any, client: Any) -> None:
        """From the first shard to a server that does not answer."""
        tables, clients = ranker._rankings._tables, ranker._clients
        tables[0], clients[1:2] = tables[0]._replace(client=client), [clients[1], client]

    with serving(waiting) as hung:
        try:
            errors = asyncio.run(awaited(hung)) if kind else waited(hung)
        finally:
            done.set()
    assert len(errors) == 101
    for error in errors:
        with pytest.raises(ServingError, match=match):
            raise error or AssertionError("answered")


@of_integers
def test_a_label_is_the_rankers(shop: Shop, other: Shop, rows: Rows, tmp_path: Path) -> None:
    """`stable` is version 1, and version 2 is served too, whose store is another one: it would be refused."""
    for folder in ("baked", "network"):
        shutil.copytree(shop.models / folder, tmp_path / folder)
        shutil.copytree(other.models / folder / "ranker" / "1", tmp_path / folder / "ranker" / "2")
        (tmp_path / f"{folder}.config").write_text(
            f'model_config_list {{ config {{ name: "ranker" base_path: "{tmp_path / folder / "ranker"}" '
            'model_platform: "tensorflow" model_version_policy { all {} } '
            'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 } } }'
        )
    with ExitStack() as running:
        baked, network = (serve(ModelConfigFile(tmp_path / f"{name}.config"), running) for name in ("baked", "network"))
        tables = [serve(shop.models / f"table_{shard}", running) for shard in range(SHARDS)]
        for addresses in ((baked, []), (network, tables)):
            with open_ranker(*addresses, label="stable", timeout=60) as ranker:
                np.testing.assert_allclose(ranker.rank(rows).probability, shop.expected(rows), rtol=0, atol=1e-6)
        with open_ranker(baked, label="canary", timeout=60) as ranker:
            assert ranker.lookup([]).embedding.shape == (0, DIM)
        with pytest.raises(ServingError, match=r"`tables\[0\]` must serve embeddings of the store that the others h"):
            open_ranker(network, tables, label="canary", timeout=60)


@of_integers
@pytest.mark.parametrize("kind", ["", "async"])
def test_servers_behind_one_address_may_have_other_versions(shop: Shop, rows: Rows, kind: str, tmp_path: Path) -> None:
    """Half through an update: of the network and of each shard one server has version 1, and one has version 2."""

    def copy(folder: str, model: str) -> Path:
        shutil.copytree(shop.models / folder / model / "1", tmp_path / folder / model / "2")
        return tmp_path / folder

    async def awaited(network: str, tables: list[str]) -> list[Any]:
        async with open_async_ranker(network, tables, timeout=60) as ranker:
            return [await ranker.rank(rows) for _ in range(20)]

    with ExitStack() as running:

        def both(folder: str, model: str) -> str:
            old, new = serve(shop.models / folder, running), serve(copy(folder, model), running)
            return f"ipv4:{old},{new}"

        network = both("network", "ranker")
        tables = [both(f"table_{shard}", f"ranker_table_{shard}") for shard in range(SHARDS)]
        with Client(network, timeout=60) as client:
            wait_until(lambda: {*client.model_status("ranker")} == {1} and {*client.model_status("ranker")} == {2})
        if kind:
            rankings = asyncio.run(awaited(network, tables))
        else:
            with open_ranker(network, tables, timeout=60) as ranker:
                rankings = [ranker.rank(rows) for _ in range(20)]
                assert ranker.lookup(shop.ids([3])).hit.tolist() == [True]
    for ranking in rankings:
        np.testing.assert_allclose(ranking.probability, shop.expected(rows), rtol=0, atol=1e-6)


@of_integers
def test_a_network_for_another_store_is_noticed(shop: Shop, other: Shop, rows: Rows, tmp_path: Path) -> None:
    """It takes the same inputs, and would score items by embeddings that it does not know."""
    shutil.copytree(shop.models / "network", tmp_path / "network")
    with ExitStack() as running:
        server = running.enter_context(Server(tmp_path / "network", port=0, poll_seconds=0.05))
        tables = [serve(shop.models / f"table_{shard}", running) for shard in range(SHARDS)]
        ranker = running.enter_context(open_ranker(f"127.0.0.1:{server.port}", tables, timeout=60))
        ranker.rank(rows)
        publish(other.models / "network" / "ranker" / "1", tmp_path / "network" / "ranker" / "2")
        wait_until(lambda: server.versions == {"ranker": 2})
        with pytest.raises(
            ServingError, match=r"`tables\[0\]` must serve embeddings of the store that the others have, "
        ):
            ranker.rank(rows)


@of_integers
def test_a_split_ranker_is_not_taken_for_a_whole_one(servers: dict[str, Addresses]) -> None:
    with pytest.raises(
        ServingError, match=r'`tables` must be the addresses .*since model "ranker" has no table inside'
    ):
        open_ranker(servers["split"][0], timeout=60)


def test_a_server_that_is_away_is_told_at_the_start() -> None:
    with pytest.raises(ServingError, match=r'model "ranker" at 127\.0\.0\.1:1: UNAVAILABLE'):
        open_ranker("127.0.0.1:1", attempts=1)


def test_arguments_are_checked(ranker: Any, rows: Rows, shop: Shop) -> None:
    with pytest.raises(ValueError, match=r"`inputs` must hold item_id"):
        ranker.rank({"boost": [0.5]})
    with pytest.raises(ValueError, match=r'`inputs\["item_id"\]` must have the shape \[users, candidates\], or .*\[\]'):
        ranker.rank(rows | {"item_id": shop.ids(7)})
    with pytest.raises(
        ValueError, match=r'`inputs\["item_id"\]` must be an array of integers that fit int64 or of str'
    ):
        ranker.rank(rows | {"item_id": [[1.5]]})
    for top_k in (-1, 1.5, [1, 2], "3"):
        with pytest.raises(ValueError, match=r"`top_k` must be an integer of 0 or more, or one for each of 3 users\."):
            ranker.rank(rows, top_k)
    with pytest.raises(ValueError, match=r"`item_ids` must have the shape \[items\]\. Received: \[1, 2\]\."):
        ranker.lookup(shop.ids([[1, 2]]))


def test_tables_must_be_a_list() -> None:
    tables = "127.0.0.1:1"

    async def awaited() -> None:
        open_async_ranker("127.0.0.1:1", tables)

    match = r"`tables` must be a list of addresses, one for each shard\. Received: '127\.0\.0\.1:1'\."
    with pytest.raises(ValueError, match=match):
        open_ranker("127.0.0.1:1", tables)
    with pytest.raises(ValueError, match=match):
        asyncio.run(awaited())


def test_both_have_the_same_methods() -> None:
    """An asynchronous class lacks nothing that the other has, and calls no argument otherwise."""
    import inspect

    from mim_tf.serving.client import RankerClient
    from mim_tf.serving.client.async_ranker_client import AsyncRankerClient

    for waiting, awaiting in ((Client, AsyncClient), (RankerClient, AsyncRankerClient)):
        methods = {name: method for name, method in vars(waiting).items() if not name.startswith("_")}
        for name, method in methods.items():
            assert inspect.signature(method) == inspect.signature(vars(awaiting)[name]), name
        assert inspect.signature(waiting.__init__).parameters.keys() == (
            inspect.signature(awaiting.__init__).parameters.keys()
        )
    assert inspect.signature(open_ranker).parameters == inspect.signature(open_async_ranker).parameters
