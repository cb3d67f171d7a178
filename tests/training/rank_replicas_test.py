"""Stage 3 under each strategy: weights, losses and metrics are those of one device; runs by the command end well."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.free_addresses import free_addresses
from tests.training.toy_ranking import make_workdir

pytestmark = [pytest.mark.slow, pytest.mark.legacy_keras]
SCRIPT = Path(__file__).with_name("rank_replicas.py")
ROUNDING = 1e-5
PATIENCE = 400  # seconds, of a machine that does much else


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rank")
    make_workdir(folder, ubm="dien", ubm_options={"auxiliary_weight": 0})  # its negatives would be of a replica
    return folder


def tasks_of(cluster: dict[str, list[str]]) -> list[str]:
    """`TF_CONFIG` of each task."""
    return [
        json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})
        for job, addresses in cluster.items()
        for index in range(len(addresses))
    ]


def start(arguments: list[Any], task: str | None = None) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, **({} if task is None else {"TF_CONFIG": task})}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outputs(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What they print, once all of them have ended well."""
    try:
        shown = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [process.returncode for process in processes] == [0] * len(processes), shown
    return [stdout for stdout, _ in shown]


def assert_as_alone(shown: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown.splitlines()[-1])
    compared = ("weights", "losses", "loaded_auc", "loaded_log_loss", "there_auc", "there_log_loss")
    assert {name: found[name] for name in compared if not found[name] < ROUNDING} == {}
    assert found["moved"] > 100 * ROUNDING  # the steps were steps
    return found


def test_two_devices_train_as_one_and_share_a_table(workdir: Path) -> None:
    [shown] = outputs([start([SCRIPT, workdir, "mirrored"])])
    assert assert_as_alone(shown)["table"] == "ResourceVariable"  # not one per replica


def test_two_workers_train_as_one(workdir: Path) -> None:
    tasks = tasks_of({"worker": free_addresses(2)})
    for shown in outputs([start([SCRIPT, workdir, "multi_worker"], task) for task in tasks]):
        assert_as_alone(shown)


def test_a_table_on_two_servers_trains_as_one(workdir: Path) -> None:
    [shown] = outputs([start([SCRIPT, workdir, "parameter_server"])])
    found = assert_as_alone(shown)
    assert found["parts"] == 2
    assert found["table"] == "ShardedVariable"


@pytest.mark.parametrize(
    ("strategy", "jobs"), [("multi_worker", ["worker"] * 2), ("parameter_server", ["chief", "worker", "ps"])]
)
def test_the_command_trains_and_all_processes_end(tmp_path: Path, strategy: str, jobs: list[str]) -> None:
    make_workdir(tmp_path, strategy=strategy, epochs=1, patience=1, activation="dice")
    cluster: dict[str, list[str]] = {}
    for job, address in zip(jobs, free_addresses(len(jobs)), strict=True):
        cluster.setdefault(job, []).append(address)
    command = ["-m", "mim_tf.train", "--stage", "rank", "--config", tmp_path / "run.yaml", "--workdir", tmp_path]
    chief, *others = outputs([start(command, task) for task in tasks_of(cluster)])
    assert "rank: auc" in chief
    assert [shown.strip() for shown in others] == (
        ["rank: worker 1 is done"] if strategy == "multi_worker" else ["rank: worker 0 is done", "rank: ps 0 is done"]
    )
    events = list((tmp_path / "rank" / "tensorboard" / "model-0").glob("train/events*"))
    assert len(events) == 1  # of the chief
    assert_loads_on_one_device(tmp_path)


def assert_loads_on_one_device(workdir: Path) -> None:
    from mim_tf.settings import load_settings
    from mim_tf.training import rank
    from mim_tf.training.scoring import score_validation

    settings = load_settings(workdir / "run.yaml")
    measured = rank._measured(score_validation(rank.load_ranker(settings, workdir, "model"), settings, workdir))
    finished = json.loads((workdir / "rank" / "metrics.json").read_text())
    assert measured["auc"] == pytest.approx(finished["auc"], abs=1e-6)
    assert measured["log_loss"] == pytest.approx(finished["log_loss"], abs=1e-6)
    assert finished["store_version"] == finished["store_version_first"] > 0
