"""Lanes: the order of tasks, what becomes of failures, and of time that runs out."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from mim_tf.experiment import lanes
from mim_tf.experiment.chain import Chain, changed
from mim_tf.experiment.lanes import OVER, Lanes
from mim_tf.experiment.task import Task, tasks_of
from mim_tf.settings import Settings

SETTINGS = Settings.model_validate({"data": {"items": "i", "impressions": "l", "validation_from": 5}})


class FakeProcess:
    """Finishes stages as it is told by the test, and notes their order."""

    ran: ClassVar[list[str]] = []
    ended: ClassVar[list[int]] = []
    do: ClassVar[Callable[[Task], str | None]] = staticmethod(lambda task: None)

    def __init__(self, threads: int, logs: Path) -> None:
        self.stopped = threading.Event()

    def run(self, task: Task) -> str | None:
        self.ran.append(task.stage)
        error = self.do(task)
        if error is None:
            folder = task.chain.folder(task.stage)
            folder.path.mkdir(parents=True)
            folder.finish({})
        return error

    def stop(self) -> None:
        self.stopped.set()

    def end(self) -> None:
        self.ended.append(1)


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcess]:
    monkeypatch.setattr(lanes, "StageProcess", FakeProcess)
    FakeProcess.ran, FakeProcess.ended, FakeProcess.do = [], [], staticmethod(lambda task: None)
    return FakeProcess


def two_click_models(folder: Path) -> dict[Path, Task]:
    chain = Chain(SETTINGS, folder)
    return tasks_of([(chain, "rank"), (Chain(changed(SETTINGS, {"rank.ubm": "din"}), folder), "rank")])


def test_a_process_changes_its_keras_mode_as_seldom_as_it_can(tmp_path: Path, process: type[FakeProcess]) -> None:
    chains = [Chain(changed(SETTINGS, {"csft.alpha": alpha}), tmp_path / "stages") for alpha in (0.1, 0.2)]
    Lanes(1, tmp_path / "logs", print).compute(tasks_of((chain, "rank") for chain in chains))
    assert process.ran == ["prepare", "pretrain", *["csft", "represent"] * 2, "rank", "rank"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_every_task_runs_once_after_its_needs(tmp_path: Path, count: int, process: type[FakeProcess]) -> None:
    def do(task: Task) -> None:
        assert all((path / path.name.split("-")[0] / "metrics.json").exists() for path in task.needs)

    process.do = staticmethod(do)
    said: list[str] = []
    tasks = two_click_models(tmp_path / "stages")
    assert Lanes(count, tmp_path / "logs", said.append).compute(tasks) == {}
    assert process.ran == ["prepare", "pretrain", "csft", "represent", "rank", "rank"]
    assert [line.split(", ")[-1] for line in said] == [f"{left} to go" for left in (5, 4, 3, 2, 1, 0)]
    assert len(process.ended) == min(count, 6)


def test_finished_tasks_are_left_alone(tmp_path: Path, process: type[FakeProcess]) -> None:
    tasks = two_click_models(tmp_path / "stages")
    Lanes(1, tmp_path / "logs", print).compute(tasks)
    process.ran.clear()
    assert Lanes(1, tmp_path / "logs", print).compute(tasks) == {}
    assert process.ran == []


def test_independent_tasks_run_side_by_side(tmp_path: Path, process: type[FakeProcess]) -> None:
    both = threading.Barrier(2)

    def do(task: Task) -> None:
        if task.stage == "rank":
            both.wait(timeout=60)  # breaks, and fails the test, if one ends before the other begins

    process.do = staticmethod(do)
    assert Lanes(2, tmp_path / "logs", print).compute(two_click_models(tmp_path / "stages")) == {}


def test_what_builds_on_a_failure_fails_with_its_reason(tmp_path: Path, process: type[FakeProcess]) -> None:
    process.do = staticmethod(lambda task: "no pairs" if task.stage == "csft" else None)
    tasks = two_click_models(tmp_path / "stages")
    failed = Lanes(2, tmp_path / "logs", print).compute(tasks)
    assert process.ran == ["prepare", "pretrain", "csft"]
    assert {tasks[path].stage: reason for path, reason in failed.items()} == {
        "csft": "csft: no pairs",
        "represent": "csft: no pairs",
        "rank": "csft: no pairs",
    }


@pytest.mark.parametrize("count", [1, 2])
def test_a_process_that_cannot_be_started_fails_its_task_alone(
    tmp_path: Path, process: type[FakeProcess], count: int
) -> None:
    def do(task: Task) -> None:
        if task.chain.settings.rank.ubm == "din" and task.stage == "rank":
            raise OSError(28, "No space left on device")

    process.do = staticmethod(do)
    tasks = two_click_models(tmp_path / "stages")
    failed = Lanes(count, tmp_path / "logs", print).compute(tasks)
    assert list(failed.values()) == ["rank: OSError: [Errno 28] No space left on device"]
    assert sum(task.finished for task in tasks.values()) == 5


def test_no_task_begins_after_the_deadline(tmp_path: Path, process: type[FakeProcess]) -> None:
    tasks = two_click_models(tmp_path / "stages")
    assert set(Lanes(1, tmp_path / "logs", print).compute(tasks, time.monotonic() - 1).values()) == {OVER}
    assert process.ran == []

    deadline = time.monotonic() + 3600
    now = time.monotonic

    def do(task: Task) -> None:
        if task.stage == "pretrain":
            monkeypatched.setattr(time, "monotonic", lambda: now() + 7200)

    process.do = staticmethod(do)
    with pytest.MonkeyPatch.context() as monkeypatched:
        failed = Lanes(1, tmp_path / "logs", print).compute(tasks, deadline)
    assert process.ran == ["prepare", "pretrain"]
    assert set(failed.values()) == {OVER}
    assert len(failed) == 4


def test_an_interrupt_stops_what_runs(tmp_path: Path, process: type[FakeProcess]) -> None:
    begun, running = threading.Event(), []
    stop = process.stop

    def stopped(self: FakeProcess) -> None:
        stop(self)
        let_go.set()

    let_go = threading.Event()

    def do(task: Task) -> str:
        running.append(task)
        begun.set()
        let_go.wait(timeout=60)
        return "stopped"

    process.do = staticmethod(do)

    class Interrupting(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            begun.wait(timeout=60)
            if not let_go.is_set():
                raise KeyboardInterrupt
            super().join(timeout)

    with pytest.MonkeyPatch.context() as monkeypatched:
        monkeypatched.setattr(process, "stop", stopped)
        monkeypatched.setattr(threading, "Thread", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            Lanes(1, tmp_path / "logs", print).compute(two_click_models(tmp_path / "stages"))
    assert [task.stage for task in running] == ["prepare"]
    assert process.ended
