"""The processes that train together, by `TF_CONFIG`. Imports no TensorFlow: what it finds decides how that starts."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import dataclass

from mim_tf.errors import StageError
from mim_tf.settings import Strategy

PATIENCE_SECONDS = 300.0
_EXAMPLE = '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together.

    Attributes:
        index: its number; 0 is the chief, who alone writes results.
        addresses: `host:port` of all of them, by number; none where there is one process only.
    """

    index: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the results."""
        return self.index == 0


ALONE = Worker()


def worker_of(strategy: Strategy) -> Worker:
    """Which worker this process is.

    Raises:
        StageError: the strategy is multi_worker and `TF_CONFIG` is missing, malformed or names fewer than two workers.
    """
    if strategy != "multi_worker":
        return ALONE
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        addresses, task = tuple(config["cluster"]["worker"]), config["task"]
        worker = Worker(int(task["index"]), addresses)
        well_formed = (
            task["type"] == "worker" and 0 <= worker.index < len(addresses) and set(config["cluster"]) == {"worker"}
        )
        ports = [int(address.rpartition(":")[2]) for address in addresses]
        well_formed &= len(set(addresses)) == len(addresses) and all(0 < port < 2**16 for port in ports)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"`TF_CONFIG` must be set, as {_EXAMPLE}. Received: {text!r}.") from error
    if not well_formed or len(ports) < 2:
        raise StageError(
            f"`TF_CONFIG` must list two workers or more and be one of them, as {_EXAMPLE}. Received: {text!r}."
        )
    return worker


def await_workers(worker: Worker, patience_seconds: float) -> None:
    """Wait until all workers are there. TensorFlow would wait for ever, deaf to signals, and not say for whom."""
    missing = [address for index, address in enumerate(worker.addresses) if index != worker.index]
    end = time.monotonic() + patience_seconds
    own = worker.addresses[worker.index]
    try:
        listener = socket.create_server(("", int(own.rpartition(":")[2])))
    except OSError as error:
        raise StageError(f"`TF_CONFIG`: this worker cannot listen at {own}: {error.strerror}.") from error
    with listener:  # closed before TensorFlow takes the port; who still asks then gets its answer from TensorFlow
        # Who has answered is left in peace: callers queue up there unheard, and a full queue answers nobody.
        print(f"waiting for {', '.join(missing)}, at most {patience_seconds:g} s", file=sys.stderr, flush=True)
        while missing := [address for address in missing if not _answers(address)]:
            if time.monotonic() > end:
                raise StageError(
                    f"{len(missing)} of {len(worker.addresses)} workers did not come within {patience_seconds:g} s: "
                    f"{', '.join(missing)}. Start the same command on each, with its own task index in `TF_CONFIG`."
                )
            time.sleep(0.2)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
