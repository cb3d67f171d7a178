"""Where the workers of a training meet before TensorFlow starts. Imports no TensorFlow.

TensorFlow's own start waits for a missing worker, deaf to signals, and does not say for whom. And an open port may be
that of a worker that is about to end. So the chief counts who has come anew, and lets all go at once.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from mim_tf.errors import StageError
from mim_tf.training.workers import Worker, listening

_PAUSE_SECONDS = 0.2
_ANSWER_SECONDS = 2.0  # in which a worker says its number
_LONGEST_LINE = 64 * 1024  # bytes


def meet(worker: Worker, patience_seconds: float) -> None:
    """Come back once all workers have come.

    Args:
        worker: which of them this process is.
        patience_seconds: how long to wait for the others.

    Raises:
        StageError: this worker's port is in use, or others did not come; they are named.
    """
    own, end = worker.addresses[worker.index], time.monotonic() + patience_seconds
    with listening(worker) as listener:
        others = ", ".join(address for address in worker.addresses if address != own)
        print(f"waiting for {others}, at most {patience_seconds:g} s", file=sys.stderr, flush=True)
        missing = _gather(worker, listener, end) if worker.is_chief else _report(worker, end)
    if missing:
        raise StageError(
            f"{len(missing)} of {len(worker.addresses)} workers did not come within {patience_seconds:g} s: "
            f"{', '.join(missing)}. Start the same command on each, with its own task index in `TF_CONFIG`."
        )


def _gather(chief: Worker, listener: socket.socket, end: float) -> list[str]:
    """Hear all others and let them go; who is missing in the end."""
    with _Callers(chief.addresses) as callers, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, "listener")
        while callers.missing and time.monotonic() < end:
            ready = selector.select(_PAUSE_SECONDS)
            if "listener" in [key.data for key, _ in ready]:
                caller, _ = listener.accept()
                if callers.admit(caller):
                    selector.register(caller, selectors.EVENT_READ, "caller")
            gone = [key.fileobj for key, _ in selector.select(0) if key.data == "caller"]
            for ended in gone:  # nobody has more to say than its number, so this is the end of one
                selector.unregister(ended)
                callers.dismiss(ended)
            if ready:
                callers.tell()
        return callers.missing


class _Callers:
    """The workers that have come to the chief; all connections end with the block."""

    def __init__(self, addresses: tuple[str, ...]):
        self._addresses = addresses
        self._here: dict[socket.socket, int] = {}

    def __enter__(self) -> _Callers:
        return self

    def __exit__(self, *_: object) -> None:
        for caller in list(self._here):
            self.dismiss(caller)

    @property
    def missing(self) -> list[str]:
        """Addresses of those who have not come."""
        there = {0, *self._here.values()}
        return [address for index, address in enumerate(self._addresses) if index not in there]

    def admit(self, caller: socket.socket) -> bool:
        """Note a worker by the number that it says; whether it is one of this training's."""
        caller.settimeout(_ANSWER_SECONDS)
        try:
            index = _heard(caller)
        except OSError:
            index = None
        if type(index) is not int or not 0 < index < len(self._addresses):
            caller.close()
            return False
        self._here[caller] = index
        return True

    def dismiss(self, caller: Any) -> None:
        """Forget a worker."""
        del self._here[caller]
        caller.close()

    def tell(self) -> None:
        """Tell all workers who is missing; that nobody is lets them go."""
        for caller in self._here:
            with suppress(OSError):  # it has gone: the selector says so next
                caller.sendall(json.dumps(self.missing).encode() + b"\n")


def _report(worker: Worker, end: float) -> list[str]:
    """Come to the chief and wait there until it lets go; who is missing in the end."""
    missing = [worker.addresses[0]]
    while time.monotonic() < end:
        try:
            chief = _connected(worker.addresses[0])
        except OSError:  # it has not come yet
            time.sleep(_PAUSE_SECONDS)
            continue
        with chief:
            missing = _waited_for(chief, worker, end)
        if not missing:
            return []
        time.sleep(_PAUSE_SECONDS)
    return missing


def _waited_for(chief: socket.socket, worker: Worker, end: float) -> list[str]:
    """Who is missing when the chief lets go or is gone, or when the time is over."""
    missing = [worker.addresses[0]]
    try:
        chief.sendall(json.dumps(worker.index).encode() + b"\n")
        chief.settimeout(2 * _ANSWER_SECONDS)  # what takes longer is no chief that waits
        while missing and time.monotonic() < end:
            told = _heard(chief)
            if not isinstance(told, list):
                return [worker.addresses[0]]
            missing = [str(address) for address in told]
            chief.settimeout(max(end - time.monotonic(), 0.01))
    except OSError:
        pass
    return missing


def _connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=1)


def _heard(peer: socket.socket) -> object:
    """The line that the other side sends next, as JSON; None where it sends none, or something else.

    Raises:
        TimeoutError: nothing came in the peer's timeout.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = peer.recv(1)
        if not part or len(line) > _LONGEST_LINE:
            return None
        line += part
    try:
        return json.loads(line)
    except ValueError:
        return None
