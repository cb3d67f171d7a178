"""Upserts in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any, NamedTuple, cast

from mim_tf.errors import MimError, ServingError
from mim_tf.representation import EmbeddingStore
from mim_tf.serving.client import Client, Tls
from mim_tf.serving.load.phases import Notes
from mim_tf.serving.load.upserts import Upserts

_POLL = 0.05  # seconds between two looks at whether the load is over, or the process


class UpsertOrder(NamedTuple):
    """What the process is to do."""

    server: str  # `host:port`
    timeout: float  # seconds
    tls: Tls | None
    table: str  # the model that holds it
    store: str  # path, from which that table was made
    rows: int  # of each call
    per_second: float  # calls
    seed: int


@contextmanager
def upsert_process(order: UpsertOrder) -> Iterator[Callable[[threading.Event], Notes]]:
    """`Upserts.write` of another process, which is ready to begin; on the way out it ends.

    In the generator's own process writing would keep requests from being sent and answers from being taken in time,
    and so count into latencies that are compared with those of a phase in which nobody writes.

    The process is told by its standard input: a byte to begin, and the end of the input to end. So it ends with this
    one, however that ends.

    Raises:
        ServingError: what `Upserts` raises, here or when it is called.
    """
    tls = None if order.tls is None else {name: value and str(value) for name, value in asdict(order.tls).items()}
    command = [sys.executable, "-m", __name__, json.dumps(order._asdict() | {"tls": tls})]
    # A session of its own: Ctrl-C is for this process, which then ends the other.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
    ) as process:
        orders = cast(IO[bytes], process.stdin)

        def write(over: threading.Event) -> Notes:
            orders.write(b"\n")
            while process.poll() is None and not over.wait(_POLL):
                pass
            orders.close()
            return _told_by(process)

        try:
            _told_by(process)
            yield write
        finally:
            process.kill()


def _told_by(process: subprocess.Popen[bytes]) -> Notes:
    line = cast(IO[bytes], process.stdout).readline()
    if not line:
        raise ServingError(f"the process of upserts ended with exit code {process.wait()}.")
    told: dict[str, Any] = json.loads(line)
    if "error" in told:
        raise ServingError(told["error"])
    return told


def _main(arguments: Sequence[str]) -> int:
    """The other process: says that it is ready, then what was done; or what is wrong."""
    (text,) = arguments
    told = json.loads(text)
    order = UpsertOrder(**told | {"tls": told["tls"] and Tls(**told["tls"])})
    try:
        with Client(order.server, timeout=order.timeout, tls=order.tls) as client:
            store, pace = EmbeddingStore(order.store), order.per_second
            upserts = Upserts(client, order.table, store, rows=order.rows, per_second=pace, seed=order.seed)
            _tell({})
            if os.read(sys.stdin.fileno(), 1):
                _tell(upserts.write(_end_of_input()))
    except (MimError, OSError) as error:
        _tell({"error": str(error)})
        return 1
    return 0


def _tell(told: Notes | dict[str, str]) -> None:
    print(json.dumps(told), flush=True)


def _end_of_input() -> threading.Event:
    """Set when the input ends."""
    over = threading.Event()

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
