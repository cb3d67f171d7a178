"""A process that runs stages, seen from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mim_tf.experiment.task import Task
from mim_tf.training.stages import LEGACY_KERAS_STAGES

_TASKS = 16
"""As many stages are run before a fresh process takes over: what graphs leave behind adds up."""


class StageProcess:
    """Runs stages, one after the other, in a process that starts with the first and is renewed now and then.

    A process is of one Keras mode, so a stage of the other one has a fresh process too: there are never two that share
    a GPU.

    Args:
        threads: that TensorFlow may use in it.
        logs: folder of what the stages say, a file each.
    """

    def __init__(self, threads: int, logs: Path):
        self._threads, self._logs = threads, logs
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
        """Ask the process to end, also while it runs a stage, which saves what it has."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        process.communicate()

    def _running(self, *, legacy: bool) -> subprocess.Popen[str]:
        if legacy != self._legacy or self._done >= _TASKS:
            self.end()
        if self._process is None:
            command = [sys.executable, "-m", "mim_tf.experiment.stage_worker", str(self._threads)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._legacy, self._done = legacy, 0
        return self._process
