"""A process that runs stages, seen from outside: a script stands for what needs TensorFlow."""

import sys
from pathlib import Path

import pytest

from mim_tf.errors import StageStoppedError
from mim_tf.experiment import stage_process
from mim_tf.experiment.chain import Chain
from mim_tf.experiment.stage_process import StageProcess
from mim_tf.experiment.task import Task, tasks_of
from mim_tf.settings import Settings

SETTINGS = Settings.model_validate({"data": {"items": "i", "impressions": "l", "validation_from": 5}})
SCRIPT = """
import json, os, sys
for line in sys.stdin:
    order = json.loads(line)
    with open(order["log"], "a") as log:
        print(os.getpid(), sys.argv[1], file=log)
    if order["stage"] == "csft":
        os._exit(7)
    print(json.dumps({"error": "no pairs" if order["stage"] == "represent" else None}), flush=True)
"""


@pytest.fixture
def tasks(tmp_path: Path) -> dict[str, Task]:
    return {task.stage: task for task in tasks_of([(Chain(SETTINGS, tmp_path / "stages"), "rank")]).values()}


@pytest.fixture
def process(tmp_path: Path) -> StageProcess:
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT)
    (tmp_path / "logs").mkdir()
    return StageProcess(3, tmp_path / "logs", (sys.executable, str(script)))


def ids(folder: Path) -> dict[str, list[str]]:
    """The numbers of the processes that have run each stage."""
    logs = {path.name.split("-")[0]: path.read_text().split() for path in (folder / "logs").iterdir()}
    assert all(set(words[1::2]) == {"3"} for words in logs.values())
    return {stage: words[::2] for stage, words in logs.items()}


def test_stages_of_one_keras_mode_share_a_process(
    tmp_path: Path, tasks: dict[str, Task], process: StageProcess
) -> None:
    assert [process.run(tasks[stage]) for stage in ("prepare", "pretrain", "rank", "pretrain")] == [None] * 4
    process.end()
    ran = ids(tmp_path)
    assert ran["prepare"] == ran["pretrain"][:1]
    assert len({*ran["prepare"], *ran["rank"], ran["pretrain"][1]}) == 3
    assert (tasks["rank"].workdir / "run.yaml").exists()


def test_a_process_is_renewed(
    tmp_path: Path, tasks: dict[str, Task], process: StageProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_process, "_TASKS", 2)
    for _ in range(5):
        process.run(tasks["prepare"])
    process.end()
    ran = ids(tmp_path)["prepare"]
    assert [ran.count(number) for number in dict.fromkeys(ran)] == [2, 2, 1]


def test_what_goes_wrong_is_told(tmp_path: Path, tasks: dict[str, Task], process: StageProcess) -> None:
    assert process.run(tasks["represent"]) == "no pairs"
    log = tmp_path / "logs" / f"{tasks['csft'].workdir.name}.log"
    assert process.run(tasks["csft"]) == f"the process ended with code 7 (see {log})"
    assert process.run(tasks["prepare"]) is None  # by a new one
    process.end()


def test_after_a_stop_nothing_is_started(tasks: dict[str, Task], process: StageProcess) -> None:
    process.stop()
    with pytest.raises(StageStoppedError, match="stopped before it began"):
        process.run(tasks["prepare"])
