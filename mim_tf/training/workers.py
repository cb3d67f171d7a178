"""The processes that train together, by `TF_CONFIG`. Imports no TensorFlow: what it finds decides how that starts."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mim_tf.errors import StageError
from mim_tf.settings import RankStrategy

PATIENCE_SECONDS = 300.0
_EXAMPLE = '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}'
_SERVERS_EXAMPLE = (
    '{"cluster": {"chief": ["host0:port"], "worker": ["host1:port"], "ps": ["host2:port"]}, '
    '"task": {"type": "chief", "index": 0}}'
)
_JOBS = ("chief", "worker", "ps")  # of a cluster with parameter servers
_PAUSE_SECONDS = 0.5
_GONE_SECONDS = 10.0  # between the chief's own listening and TensorFlow's are moments in which it does not answer
_ENDED_SECONDS = 2.0  # once TensorFlow listens there are none; a scheduler takes longer to start a chief again
_SHOWN_SECONDS = 60.0  # until one machine sees the file that another one wrote: NFS looks again after a minute


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together.

    Attributes:
        index: its number; 0 is the chief, who alone writes results.
        addresses: `host:port` of all of them, by number; none where there is one process only.
        task: its task in a cluster with parameter servers, as "ps 0"; "" elsewhere.
    """

    index: int = 0
    addresses: tuple[str, ...] = ()
    task: str = ""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the results."""
        return self.index == 0

    @property
    def serves(self) -> bool:
        """Whether this process runs no stage, but does what the chief tells it."""
        return bool(self.task) and not self.is_chief


ALONE = Worker()


def worker_of(strategy: RankStrategy) -> Worker:
    """Which worker this process is.

    Raises:
        StageError: the strategy is multi_worker or parameter_server, and `TF_CONFIG` is missing, malformed, or names
            fewer than two workers, or no worker or ps task.
    """
    if strategy == "parameter_server":
        return _task_of_servers()
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


def _task_of_servers() -> Worker:
    """This process's place among chief, workers and ps, numbered in this order."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        tasks = [(job, index) for job in _JOBS for index in range(len(cluster[job]))]
        addresses = tuple(address for job in _JOBS for address in cluster[job])
        own = (task["type"], int(task["index"]))
        ports = [int(address.rpartition(":")[2]) for address in addresses]
        well_formed = set(cluster) == set(_JOBS) and len(cluster["chief"]) == 1 and own in tasks
        well_formed &= all(cluster[job] for job in _JOBS)
        well_formed &= len(set(addresses)) == len(addresses) and all(0 < port < 2**16 for port in ports)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"`TF_CONFIG` must be set, as {_SERVERS_EXAMPLE}. Received: {text!r}.") from error
    if not well_formed:
        raise StageError(
            "`TF_CONFIG` must list one chief, workers and ps tasks, and be one of them, "
            f"as {_SERVERS_EXAMPLE}. Received: {text!r}."
        )
    return Worker(tasks.index(own), addresses, f"{own[0]} {own[1]}")


def outlast_chief(worker: Worker, patience_seconds: float) -> None:
    """Come back when the chief has come and gone.

    Raises:
        StageError: it did not come.
    """
    chief, end = worker.addresses[0], time.monotonic() + patience_seconds
    while not _answers(chief):
        if time.monotonic() > end:
            raise StageError(
                f"the chief, {chief}, did not come within {patience_seconds:g} s. Start the same command there, with "
                "the task chief in `TF_CONFIG`."
            )
        time.sleep(_PAUSE_SECONDS)
    seen = time.monotonic()
    while time.monotonic() - seen < _GONE_SECONDS:
        time.sleep(1)
        if _answers(chief):
            seen = time.monotonic()


def await_finish(worker: Worker, finished: Callable[[], bool]) -> None:
    """Come back once the chief has finished the stage, which it still measures and writes when the training is over.

    That may take hours, so what bounds it is that the chief answers. A worker that left before would count as done to
    a scheduler, and a chief that is lost and started again would wait for it in vain.

    Args:
        worker: which one this process is.
        finished: whether the stage is.

    Raises:
        StageError: the chief is gone, and the stage is not finished.
    """
    seen = time.monotonic()
    while not finished() and time.monotonic() - seen < _ENDED_SECONDS:
        if _answers(worker.addresses[0]):
            seen = time.monotonic()
        time.sleep(_PAUSE_SECONDS)
    while not finished():
        if time.monotonic() - seen > _SHOWN_SECONDS:
            raise StageError(
                f"the chief, {worker.addresses[0]}, has gone before the stage was finished. Run the same command again "
                "on all workers."
            )
        time.sleep(_PAUSE_SECONDS)


@contextmanager
def listening(worker: Worker) -> Iterator[socket.socket]:
    """Hold a worker's port until TensorFlow takes it.

    Raises:
        StageError: it is in use.
    """
    own = worker.addresses[worker.index]
    try:
        listener = socket.create_server(("", int(own.rpartition(":")[2])))
    except OSError as error:
        raise StageError(f"`TF_CONFIG`: this worker cannot listen at {own}: {error.strerror}.") from error
    with listener:
        yield listener


def await_servers(chief: Worker, patience_seconds: float) -> None:
    """Wait until workers and ps tasks serve. TensorFlow would wait for ever, deaf to signals, and not say for whom.

    Raises:
        StageError: some do not, and are named; or the chief's port is in use.
    """
    missing, end = list(chief.addresses[1:]), time.monotonic() + patience_seconds
    with listening(chief):
        print(f"waiting for {', '.join(missing)}, at most {patience_seconds:g} s", file=sys.stderr, flush=True)
        while missing := [address for address in missing if not _answers(address)]:
            if time.monotonic() > end:
                raise StageError(
                    f"{len(missing)} of {len(chief.addresses)} tasks did not come within {patience_seconds:g} s: "
                    f"{', '.join(missing)}. Start the same command on each, with its own task in `TF_CONFIG`."
                )
            time.sleep(0.2)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
