"""Computing tasks in several processes side by side."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mim_tf.experiment.stage_process import StageProcess
from mim_tf.experiment.task import Task
from mim_tf.training.stages import LEGACY_KERAS_STAGES

OVER = "not computed: the budget was over"


class Lanes:
    """Computes tasks, each after those that it needs, as many at a time as there are lanes.

    Small models leave most of a machine idle, so lanes pay: each is a process with its share of the cores.

    Args:
        count: of the lanes.
        logs: folder of what stages say.
        say: is told of each task that has ended.
    """

    def __init__(self, count: int, logs: Path, say: Callable[[str], None]):
        self._count, self._logs, self._say = count, logs, say
        self._threads = max(1, (os.cpu_count() or 1) // count)
        self._changed = threading.Condition()
        self._waiting: dict[Path, Task] = {}
        self._running: set[Path] = set()
        self._failed: dict[Path, str] = {}
        self._deadline = float("inf")
        self._processes: list[StageProcess] = []

    def compute(self, tasks: Mapping[Path, Task], deadline: float = float("inf")) -> dict[Path, str]:
        """Compute what is not finished.

        Args:
            tasks: in an order in which they can run.
            deadline: by `time.monotonic`; no task is begun later.

        Returns:
            Of each task that is not finished now, why.
        """
        self._waiting = {path: task for path, task in tasks.items() if not task.finished}
        self._running, self._failed, self._deadline = set(), {}, deadline
        self._logs.mkdir(parents=True, exist_ok=True)
        lanes = [threading.Thread(target=self._lane, daemon=True) for _ in range(min(self._count, len(self._waiting)))]
        for lane in lanes:
            lane.start()
        try:
            for lane in lanes:
                lane.join()
        except BaseException:  # Ctrl-C, SIGTERM: no further task is begun, those that run save what they have
            with self._changed:
                self._waiting.clear()
                for process in self._processes:
                    process.stop()
            for lane in lanes:
                lane.join()
            raise
        return self._failed

    def _lane(self) -> None:
        process, legacy = StageProcess(self._threads, self._logs), False
        with self._changed:
            self._processes.append(process)
        try:
            while (task := self._take(legacy)) is not None:
                began, legacy = time.monotonic(), task.stage in LEGACY_KERAS_STAGES
                error = self._run(process, task)
                self._ended(task, error, time.monotonic() - began)
        finally:
            process.end()

    @staticmethod
    def _run(process: StageProcess, task: Task) -> str | None:
        try:
            return process.run(task)
        except Exception as error:  # no file, no process, no memory: the other tasks are worth having
            return f"{type(error).__name__}: {error}"

    def _take(self, legacy: bool) -> Task | None:
        """The next task whose turn it is, of that Keras mode if there is one; None when there is none left."""
        with self._changed:
            while True:
                self._give_up()
                ready = [task for task in self._waiting.values() if not self._blocked(task)]
                if ready:
                    chosen = min(ready, key=lambda task: (task.stage in LEGACY_KERAS_STAGES) != legacy)
                    task = self._waiting.pop(chosen.workdir)
                    self._running.add(task.workdir)
                    return task
                if not self._waiting:
                    return None
                self._changed.wait()

    def _blocked(self, task: Task) -> bool:
        return any(path in self._waiting or path in self._running for path in task.needs)

    def _give_up(self) -> None:
        """Drop what cannot be computed any more: its time is over, or what it needs has failed."""
        for path, task in list(self._waiting.items()):
            failed = [self._failed[needed] for needed in task.needs if needed in self._failed]
            if failed or time.monotonic() > self._deadline:
                del self._waiting[path]
                self._failed[path] = failed[0] if failed else OVER

    def _ended(self, task: Task, error: str | None, seconds: float) -> None:
        with self._changed:
            self._running.remove(task.workdir)
            if error is not None:
                self._failed[task.workdir] = f"{task.stage}: {error.removesuffix('.')}"
            left = len(self._waiting) + len(self._running)
            self._say(f"{task.workdir.name}: {error or f'{seconds:.0f} s'}, {left} to go")
            self._changed.notify_all()
