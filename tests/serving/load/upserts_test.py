"""Upserts of the load test: the table takes them, and whoever asks for items sees nothing of them."""

import threading
from collections.abc import Callable

import lance
import numpy as np
import pytest

from mim_tf.errors import ServingError, SettingsError
from mim_tf.representation import EmbeddingStore
from mim_tf.serving.load.upserts import Upserts
from tests.serving.load.conftest import ServedTable
from tests.serving.publishing import wait_until

Serve = Callable[..., ServedTable]


def upserts(table: ServedTable, rows: int = 10, per_second: float = 200.0) -> Upserts:
    return Upserts(table.client, "table", table.store, rows=rows, per_second=per_second)


def write(table: ServedTable, writer: Upserts, calls: int) -> dict[str, float]:
    """Let it write until the table has taken so many changes."""
    over, notes, errors = threading.Event(), {}, []

    def work() -> None:
        try:
            notes.update(writer.write(over))
        except SettingsError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: table.state()[1] >= calls or not thread.is_alive())
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]
    return notes


@pytest.mark.parametrize("id_type", ["int64", "string"])
def test_the_table_takes_them_and_its_items_stay_as_they_were(serve_table: Serve, id_type: str) -> None:
    table = serve_table(id_type=id_type, spare=20)
    version, _ = table.state()
    notes = write(table, upserts(table), calls=5)
    assert notes["upserts"] == table.state()[1] >= 5
    assert (notes["upserts_failed"], notes["upsert_rows"]) == (0, 10)
    assert 0 < notes["upsert_p50_ms"] <= notes["upsert_max_ms"]
    assert table.state()[0] == version
    np.testing.assert_array_equal(table.held(table.ids(range(12)))[:, 0], [*range(10), np.nan, np.nan])


def test_rows_are_the_last_and_the_store_gets_them_when_it_needs_them(serve_table: Serve) -> None:
    table = serve_table(spare=20)
    write(table, upserts(table), calls=1)
    own = np.arange(10) + np.iinfo(np.int64).min + 2
    written = table.held(own)
    assert np.isfinite(written).all()
    # An item of the store's comes into the row that the first of them has.
    numbers = dict(zip(("since", "version", "sequence"), [[2], [2], [table.state()[1]]], strict=True))
    item = {"item_id": [77], "row": [table.capacity - 10], "embedding": np.array([[7, 7]], np.float16)}
    table.client.predict("table", item | numbers, signature="upsert")
    np.testing.assert_array_equal(table.held(np.array([77])), [[7, 7]])
    np.testing.assert_array_equal(table.held(own)[1:], written[1:])


def test_a_shard_of_a_table(serve_table: Serve) -> None:
    table = serve_table(spare=20, shard=(1, 2))
    before = table.held(np.arange(10))
    assert 0 < np.isfinite(before[:, 0]).sum() < 10
    write(table, upserts(table), calls=2)
    np.testing.assert_array_equal(table.held(np.arange(10)), before)


def test_half_of_the_free_rows_is_the_most(serve_table: Serve) -> None:
    table = serve_table(spare=20)
    upserts(table, rows=10)
    with pytest.raises(SettingsError, match=r"`upsert_rows` must be at most half of the 20 free rows of table.*: 11"):
        upserts(table, rows=11)
    assert table.state()[1] == 0


def test_a_store_that_grows_meanwhile_is_seen(serve_table: Serve) -> None:
    """The table does not have its new items yet, and may get them at any moment."""
    table = serve_table(spare=20)
    writer = upserts(table, rows=10)
    table.put(range(10, 14))
    with pytest.raises(SettingsError, match=r"`upsert_rows` must be at most half of the .* free rows"):
        write(table, writer, calls=1)
    assert table.state()[1] == 0


def test_rows_that_the_store_let_go_and_the_table_has_are_not_free(serve_table: Serve) -> None:
    table = serve_table(spare=4)
    table.store.upsert(np.array([9]), np.array([[1.0, 1.0]]), encoder="e")  # another row, the old one is let go
    highest = int(table.store.read().rows.max())
    free = table.capacity - 1 - highest
    upserts(table, rows=max(1, free // 2))
    with pytest.raises(SettingsError, match=f"half of the {free} free rows"):
        upserts(table, rows=free // 2 + 1)


def test_embeddings_of_the_store_are_not_read(serve_table: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large store they are gigabytes."""
    table, scanned = serve_table(), []
    scan = lance.LanceDataset.to_table

    def noted(dataset: lance.LanceDataset, *args: object, **options: object) -> object:
        records = scan(dataset, *args, **options)
        scanned.extend(records.column_names)
        return records

    monkeypatch.setattr(lance.LanceDataset, "to_table", noted)
    upserts(table)
    assert {"item_id", "row"} <= set(scanned)
    assert "embedding" not in scanned


def test_another_writer_between_is_let_through(serve_table: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first look at the table another writer's change comes: the call that follows it is refused."""
    table = serve_table(spare=20)
    writer = upserts(table)
    predict, done = table.client.predict, []

    def interrupted(model: str, inputs: dict, **options: object) -> object:
        if options["signature"] == "upsert" and not done:
            done.append(True)
            item = {"item_id": [77], "row": [table.capacity - 20], "embedding": np.ones([1, 2], np.float16)}
            predict(model, item | {"since": [2], "version": [2], "sequence": [0]}, signature="upsert")
        return predict(model, inputs, **options)

    monkeypatch.setattr(table.client, "predict", interrupted)
    notes = write(table, writer, calls=3)
    assert notes["upserts_failed"] == 1
    assert notes["upserts"] == table.state()[1] - 1


def test_another_store_and_no_table(serve_table: Serve, tmp_path: object) -> None:
    table = serve_table()
    other = EmbeddingStore.create(f"{tmp_path}/other.lance", id_type="int64", dim=2)
    with pytest.raises(SettingsError, match=r"`store` must be the one that table was made from\. Received: .*other"):
        Upserts(table.client, "table", other, rows=1, per_second=1.0)
    with pytest.raises(ServingError, match="NOT_FOUND"):
        Upserts(table.client, "ranker", table.store, rows=1, per_second=1.0)


@pytest.mark.parametrize(("rows", "per_second"), [(0, 1.0), (1, 0.0), (1, float("inf"))])
def test_a_pace_that_cannot_be(serve_table: Serve, rows: int, per_second: float) -> None:
    with pytest.raises(ValueError, match="`rows` and `per_second` must be positive"):
        Upserts(None, "table", None, rows=rows, per_second=per_second)  # type: ignore[arg-type]
