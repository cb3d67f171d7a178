"""A process that runs stages, seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from mim_tf.errors import StageStoppedError
from mim_tf.experiment.task import Task
from mim_tf.training.stages import LEGACY_KERAS_STAGES

_WORKER = (sys.executable, "-m", "mim_tf.experiment.stage_worker")
_TASKS = 16
"""As many stages are run before a fresh process takes over: what graphs leave behind adds up."""


class StageProcess:
    """Runs stages, one after the other, in a process that starts with the first and is renewed now and then.

    A process is of one Keras mode, so a stage of the other one has a fresh process too, after the old one has let go of
    its memory, and of the GPU.

    Args:
        threads: that TensorFlow may use in it.
        logs: folder of what the stages say, a file each.
        command: of the process, to which the threads are added.
    """

    def __init__(self, threads: int, logs: Path, command: Sequence[str] = _WORKER):
        self._command, self._logs = [*command, str(threads)], logs
        self._lock, self._stopped = threading.Lock(), False
        self._process: subprocess.Popen[str] | None = None
        self._legacy, self._done = False, 0

    def run(self, task: Task) -> str | None:
        """Run a stage to its end.

        Returns:
            What went wrong, or None.
        """
        log = self._logs / f"{task.workdir.name}.log"
        config = task.chain.begin(task.stage)
        order = {"stage": task.stage, "config": str(config), "workdir": str(task.workdir), "log": str(log)}
        process = self._running(legacy=task.stage in LEGACY_KERAS_STAGES)
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process has no pipes.")
        try:
            print(json.dumps(order), file=process.stdin, flush=True)
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        self._done += 1
        if not answer:
            self.end()
            return f"the process ended with code {process.returncode} (see {log})"
        error: str | None = json.loads(answer)["error"]
        return error

    def stop(self) -> None:
        """Ask the process to end, also while it runs a stage, which saves what it has; none is started any more."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()

    def end(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.communicate()

    def _running(self, *, legacy: bool) -> subprocess.Popen[str]:
        if legacy != self._legacy or self._done >= _TASKS:
            self.end()
        with self._lock:
            if self._stopped:
                raise StageStoppedError("stopped before it began.")
            if self._process is None:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
                )
                self._legacy, self._done = legacy, 0
            return self._process
