"""Upserts of another process: they begin and end when they are told, and what is wrong is said here."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.client import Tls
from mim_tf.serving.load.upsert_process import UpsertOrder, upsert_process
from tests.serving.load.conftest import ServedTable
from tests.serving.publishing import wait_until

pytestmark = pytest.mark.slow  # each starts Python and TensorFlow
Serve = Callable[..., ServedTable]


def order(table: ServedTable, rows: int = 10, tls: Tls | None = None) -> UpsertOrder:
    return UpsertOrder(table.address, 60.0, tls, "table", str(table.store_path), rows, per_second=200.0, seed=0)


def test_the_table_takes_them_between_the_two_signs(serve_table: Serve) -> None:
    table, over, notes = serve_table(spare=20), threading.Event(), {}
    with upsert_process(order(table)) as write:
        assert table.state()[1] == 0
        thread = threading.Thread(target=lambda: notes.update(write(over)))
        thread.start()
        try:
            wait_until(lambda: table.state()[1] >= 3 or not thread.is_alive())
        finally:
            over.set()
            thread.join()
        assert notes["upserts"] == table.state()[1] >= 3
    assert (notes["upserts_failed"], notes["upsert_rows"]) == (0, 10)
    np.testing.assert_array_equal(table.held(np.arange(10))[:, 0], np.arange(10))


def test_it_ends_when_its_caller_is_gone(serve_table: Serve) -> None:
    """A process that has died, however it did, has closed what it wrote to."""
    table = serve_table(spare=20)
    command = [sys.executable, "-m", "mim_tf.serving.load.upsert_process", json.dumps(order(table)._asdict())]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, b"{}\n")
    assert table.state()[1] == 0


def test_what_is_wrong_is_said_before_the_load(serve_table: Serve, tmp_path: object) -> None:
    table = serve_table(spare=20)
    with (
        pytest.raises(ServingError, match=r"`upsert_rows` must be at most half of the 20 free rows of table.*: 11"),
        upsert_process(order(table, rows=11)),
    ):
        pass
    with (
        pytest.raises(ServingError, match=r"`tls.roots` must be a PEM file of certificates\. Received: .*nowhere"),
        upsert_process(order(table, tls=Tls(roots=f"{tmp_path}/nowhere"))),
    ):
        pass
