"""What a server gets: all that it lacks and nothing else, in order, or a clear word on why not."""

import shutil
from contextlib import closing
from pathlib import Path

import grpc
import numpy as np
import pytest

from mim_tf.errors import ServingError, SettingsError, StageError
from mim_tf.realtime import table_server
from mim_tf.realtime.table_server import TableServer
from mim_tf.representation import EmbeddingStore
from mim_tf.serving.client import Client, Tls
from mim_tf.serving.server import Server
from tests.realtime.conftest import Tables
from tests.serving.certificates import Authority


def caught_up(tables: Tables, port: int, name: str = "table") -> int:
    with closing(TableServer(f"127.0.0.1:{port}/{name}")) as server:
        return server.catch_up(tables.store).version


def test_a_server_gets_what_it_lacks(tables: Tables) -> None:
    tables.export()
    port = tables.serve().port
    tables.put({8: 3, 9: 4})
    tables.put({10: 5})
    assert caught_up(tables, port) == tables.store.version == 4
    assert tables.held(port, [7, 8, 9, 10, 11]) == {7: 1, 8: 3, 9: 4, 10: 5}
    assert caught_up(tables, port) == 4


def test_a_server_behind_tls(tables: Tables, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "shop")
    credentials = grpc.ssl_server_credentials([authority.sign("here", "127.0.0.1").read()])
    tables.export()
    with Server(tables.models, port=0, credentials=credentials) as server:
        address = f"127.0.0.1:{server.port}/table"
        tables.put({8: 3})
        with closing(TableServer(address, tls=Tls(roots=authority.roots))) as known:
            assert known.catch_up(tables.store).version == tables.store.version
        with closing(TableServer(address)) as unencrypted, pytest.raises(ServingError, match="UNAVAILABLE"):
            unencrypted.state()


def test_a_server_that_was_down_catches_up_from_what_was_baked(tables: Tables) -> None:
    tables.export()
    tables.store.tag("table-1", tables.store.version)
    first = tables.serve()
    tables.put({8: 3})
    caught_up(tables, first.port)
    first.stop()
    for turn in range(4):
        tables.put({100 + turn: turn})
    tables.store.compact(keep_versions=1)
    port = tables.serve().port
    assert tables.held(port, [8]) == {8: 2}
    caught_up(tables, port)
    assert tables.held(port, [7, 8, 100, 103]) == {7: 1, 8: 3, 100: 0, 103: 3}


def test_shards_get_their_own_items(tables: Tables) -> None:
    for number in range(3):
        tables.export(f"table_{number}", (number, 3))
    port = tables.serve().port
    tables.put({item: item for item in range(100, 130)})
    for number in range(3):
        caught_up(tables, port, f"table_{number}")
    parts = [tables.held(port, [7, 8, *range(100, 130)], f"table_{number}") for number in range(3)]
    assert sum(len(part) for part in parts) == 32
    assert {**parts[0], **parts[1], **parts[2]} == {7: 1, 8: 2, **{item: item for item in range(100, 130)}}


def test_a_shard_without_news_moves_its_version(tables: Tables) -> None:
    for number in range(3):
        tables.export(f"table_{number}", (number, 3))
    port = tables.serve().port
    tables.put({9: 1})
    assert [caught_up(tables, port, f"table_{number}") for number in range(3)] == [3, 3, 3]


def test_many_changes_go_in_pieces_and_the_version_moves_last(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.export(spare=20_000)
    port = tables.serve().port
    tables.put({item: item % 1000 for item in range(10, 2510)})
    calls: list[tuple[int, int, int]] = []
    send = table_server.Client.predict

    def recorded(client: object, model: str, inputs: dict, **options: str) -> object:
        answer = send(client, model, inputs, **options)
        if options["signature"] == "upsert":
            calls.append((len(inputs["item_id"]), int(inputs["since"][0]), int(inputs["version"][0])))
        return answer

    monkeypatch.setattr(table_server.Client, "predict", recorded)
    caught_up(tables, port)
    assert calls == [(1000, 2, 2), (1000, 2, 2), (500, 2, 3)]
    assert tables.held(port, [10, 1500, 2509]) == {10: 10, 1500: 500, 2509: 509}


@pytest.mark.parametrize("reload", [False, True], ids=["restart", "reload"])
def test_a_table_that_is_exchanged_between_two_pieces_is_begun_anew(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, reload: bool
) -> None:
    tables.export(spare=20_000)
    first = tables.serve()
    tables.put({item: item % 1000 for item in range(10, 1510)})
    if reload:
        tables.export("aside", spare=20_000)  # made of a version between
    tables.put({item: item % 1000 for item in range(1510, 3010)})
    send, pieces = table_server.Client.predict, []

    def interrupted(client: object, model: str, inputs: dict, **options: str) -> object:
        if options["signature"] == "upsert":
            pieces.append(len(inputs["item_id"]))
            if len(pieces) == 2:
                first.stop()
                if reload:
                    shutil.rmtree(tables.models / "table")
                    (tables.models / "aside").rename(tables.models / "table")
                tables.serve(first.port)
                with Client(f"127.0.0.1:{first.port}") as other:
                    other.wait_until_ready("table")
        return send(client, model, inputs, **options)

    monkeypatch.setattr(table_server.Client, "predict", interrupted)
    with pytest.raises(ServingError, match=r"`sequence` must be the number of changes that the table has taken"):
        caught_up(tables, first.port)
    caught_up(tables, first.port)
    expected = {7: 1, 8: 2, **{item: item % 1000 for item in range(10, 3010)}}
    assert tables.held(first.port, list(range(7, 3010))) == expected


def test_warming_up_changes_nothing(tables: Tables) -> None:
    tables.export()
    port = tables.serve().port
    tables.put({8: 3})
    with closing(TableServer(f"127.0.0.1:{port}/table")) as server:
        server.warm_up(tables.store)
        assert server.state().version == 2
    assert tables.held(port, [7, 8]) == {7: 1, 8: 2}


def test_a_full_table_says_so_and_keeps_what_it_has(tables: Tables) -> None:
    tables.export(spare=0)
    port = tables.serve().port
    tables.put({item: item for item in range(100, 400)})
    with pytest.raises(ServingError, match=r"/table is full: its table has \d+ rows, version 3 .* more `export.spare`"):
        caught_up(tables, port)
    assert tables.held(port, [7, 8, 100]) == {7: 1, 8: 2}


def test_a_table_of_another_store_is_refused(tables: Tables, tmp_path: object) -> None:
    tables.export()
    port = tables.serve().port
    shutil.rmtree(tables.store.path)
    tables.store = EmbeddingStore.create(tables.store.path, id_type="int64", dim=2)
    for turn in range(5):
        tables.put({7: 50 + turn})
    with pytest.raises(ServingError, match=r"must hold a table of .*store\.lance .* Export the model from this store"):
        caught_up(tables, port)
    assert tables.held(port, [7]) == {7: 1}


def test_a_server_too_far_behind_is_told(tables: Tables) -> None:
    tables.export()
    port = tables.serve().port
    tables.put({7: 3})
    tables.put({7: 4})
    tables.store.compact(keep_versions=1)
    with pytest.raises(StageError, match=r"Version 2 of .* was removed by `compact`"):
        caught_up(tables, port)


def test_string_ids(tmp_path: object, tables: Tables) -> None:
    tables.store = EmbeddingStore.create(f"{tables.store.path}2", id_type="string", dim=2)
    tables.store.upsert(np.array(["a"], object), np.ones([1, 2]), encoder="e")
    for number in range(2):
        tables.export(f"table_{number}", (number, 2))
    port = tables.serve().port
    tables.store.upsert(np.array(["b", "a"], object), np.array([[2.0, 2], [3, 3]]), encoder="e")
    for number in range(2):
        caught_up(tables, port, f"table_{number}")
    both = [tables.held(port, ["a", "b", "c"], f"table_{number}") for number in range(2)]
    assert {**both[0], **both[1]} == {"a": 3, "b": 2}
    tables.store.upsert(np.array(["a"], object), np.array([[4.0, 4]]), encoder="e")  # one shard has nothing new
    assert [caught_up(tables, port, f"table_{number}") for number in range(2)] == [4, 4]


@pytest.mark.parametrize("address", ["127.0.0.1:8500", "/table", "host:1/a/b"])
def test_an_address_names_a_model(address: str) -> None:
    with pytest.raises(SettingsError, match=r"`realtime.servers` must be host:port/model\. Received"):
        TableServer(address)
