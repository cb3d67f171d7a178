"""Processes that train together as on machines of their own, each with its `TF_CONFIG`, its log and its group."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mim_tf.errors import StageError

_POLL_SECONDS = 0.05
_NOT_INHERITED = ("TF_CONFIG", "TF_USE_LEGACY_KERAS")  # each task has its own, and the stage its Keras
_SHOWN = 6  # lines of a log in an error


class Cluster:
    """One command, run by every task of a cluster. All processes end with the `with` block, whatever ends it.

    Args:
        command: of every task.
        jobs: how many tasks each job of `TF_CONFIG` has; none: one process without `TF_CONFIG`.
        logs: folder for what each task prints; a task that is started again goes on with its log.
    """

    def __init__(self, command: Sequence[str], jobs: Mapping[str, int], logs: Path):
        self._command, self._logs = list(command), logs
        self._configs = _configs(jobs) if jobs else {"alone": None}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """As "worker 0", the one that writes the results first."""
        return tuple(self._configs)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        with ExitStack() as begun:
            begun.push(self)  # where one task cannot start, those before it end
            for task in self.tasks:
                self.start(task)
            begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._processes:
            self.kill(task)

    def start(self, task: str) -> None:
        """Start a task, or start it again, as a scheduler does."""
        config = self._configs[task]
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        environment = inherited | ({"TF_CONFIG": config} if config else {})
        with self._log(task).open("ab") as log:
            self._processes[task] = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )

    def kill(self, task: str) -> None:
        """End a task at once, with all that it has started, by SIGKILL."""
        process = self._processes[task]
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for something that the tasks do.

        Args:
            condition: whether it is done.
            what: it is, for the error to name.
            seconds: to wait at most.

        Raises:
            StageError: it was not done in time, or a task ended before.
        """
        end = time.monotonic() + seconds
        while not condition():
            for task, process in self._processes.items():
                if process.poll() is not None:
                    raise StageError(
                        f"{task} ended with code {process.returncode} before {what}. {self.last_lines(task)}"
                    )
            if time.monotonic() > end:
                raise StageError(f"no {what} within {seconds:g} s. {self.last_lines(self.tasks[0])}")
            time.sleep(_POLL_SECONDS)

    def wait(self, seconds: float, tasks: Sequence[str] | None = None) -> dict[str, int]:
        """The exit codes of tasks, by default of all, once they have ended.

        Raises:
            StageError: one of them goes on after so many seconds.
        """
        end = time.monotonic() + seconds
        codes = {}
        for task in self.tasks if tasks is None else tasks:
            try:
                codes[task] = self._processes[task].wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                raise StageError(f"{task} goes on after {seconds:g} s. {self.last_lines(task)}") from None
        return codes

    def finish(self, seconds: float) -> None:
        """Wait until all tasks have ended well.

        Raises:
            StageError: one ended with another exit code than 0, or not in time.
        """
        for task, code in self.wait(seconds).items():
            if code:
                raise StageError(f"{task} ended with code {code}. {self.last_lines(task)}")

    def printed(self, task: str) -> str:
        """All that a task has printed."""
        return self._log(task).read_text(encoding="utf-8", errors="replace")

    def last_lines(self, task: str) -> str:
        """The end of what a task has printed, and where the rest is."""
        lines = self.printed(task).splitlines()[-_SHOWN:]
        return "\n".join([f"Its last lines, of {self._log(task)}:", *(f"  {line}" for line in lines)])

    def _log(self, task: str) -> Path:
        return self._logs / f"{task.replace(' ', '-')}.log"


def _configs(jobs: Mapping[str, int]) -> dict[str, str | None]:
    """`TF_CONFIG` of every task, at free ports of this machine."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(sum(jobs.values()))]
    addresses = iter([f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners])
    for listener in listeners:
        listener.close()
    cluster = {job: [next(addresses) for _ in range(count)] for job, count in jobs.items()}
    return {
        f"{job} {index}": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})
        for job, count in jobs.items()
        for index in range(count)
    }
