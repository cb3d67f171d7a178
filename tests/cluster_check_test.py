"""The check's own parts: processes that start, are killed and leave nothing behind; what counts as a difference."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mim_tf.cluster_check.cluster import Cluster
from mim_tf.cluster_check.outcome import Outcome
from mim_tf.cluster_check.toy_run import ToyRun
from mim_tf.cluster_check.trial import Trial, table
from mim_tf.errors import StageError
from mim_tf.settings import load_settings

PATIENCE = 60.0  # seconds, of a machine that does much else


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(process: int) -> bool:
    """Whether a process has ended; one that nobody asked for its exit code has, too."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_every_task_has_its_own_config_and_log(tmp_path: Path) -> None:
    code = "import os; print(os.environ['TF_CONFIG'])"
    with Cluster(python(code), {"chief": 1, "worker": 2}, tmp_path / "logs") as cluster:
        cluster.finish(PATIENCE)
        printed = {task: json.loads(cluster.printed(task)) for task in cluster.tasks}
    assert [(one["task"]["type"], one["task"]["index"]) for one in printed.values()] == [
        ("chief", 0),
        ("worker", 0),
        ("worker", 1),
    ]
    assert list(printed) == ["chief 0", "worker 0", "worker 1"]
    [cluster_of_all] = {json.dumps(one["cluster"]) for one in printed.values()}
    addresses = [address for of_job in json.loads(cluster_of_all).values() for address in of_job]
    assert len(set(addresses)) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+", address) for address in addresses)
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"chief-0.log", "worker-0.log", "worker-1.log"}


def test_one_process_has_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "of another run")
    with Cluster(python("import os; print('TF_CONFIG' in os.environ)"), {}, tmp_path) as cluster:
        cluster.finish(PATIENCE)
        assert cluster.printed("alone") == "False\n"


def test_what_ends_badly_is_named_with_its_last_lines(tmp_path: Path) -> None:
    code = "import sys; print(*range(20), sep='\\n'); sys.exit(3)"
    with (
        Cluster(python(code), {"worker": 1}, tmp_path) as cluster,
        pytest.raises(
            StageError, match=rf"worker 0 ended with code 3\. .* of {tmp_path}/worker-0\.log:\n  14\n(.*\n)*  19$"
        ),
    ):
        cluster.finish(PATIENCE)


def test_what_does_not_end_or_come_is_named(tmp_path: Path) -> None:
    with Cluster(python("import time; time.sleep(600)"), {"worker": 2}, tmp_path) as cluster:
        with pytest.raises(StageError, match=r"worker 0 goes on after 0\.1 s\."):
            cluster.wait(0.1)
        with pytest.raises(StageError, match=r"no checkpoint within 0\.1 s\."):
            cluster.wait_until(lambda: False, "checkpoint", 0.1)
        cluster.kill("worker 1")
        with pytest.raises(StageError, match=r"worker 1 ended with code -9 before checkpoint\."):
            cluster.wait_until(lambda: False, "checkpoint", PATIENCE)


def test_a_task_that_is_killed_can_be_started_again_and_goes_on_with_its_log(tmp_path: Path) -> None:
    code = "import time; print('here', flush=True); time.sleep(600)"
    with Cluster(python(code), {"worker": 2}, tmp_path) as cluster:
        wait_for(lambda: all(cluster.printed(task) == "here\n" for task in cluster.tasks))
        cluster.kill("worker 1")
        assert cluster.wait(PATIENCE, ["worker 1"]) == {"worker 1": -signal.SIGKILL}
        cluster.start("worker 1")
        wait_for(lambda: cluster.printed("worker 1") == "here\nhere\n")
        assert cluster.printed("worker 0") == "here\n"


def test_nothing_goes_on_after_the_block_not_even_what_a_task_started(tmp_path: Path) -> None:
    sleep = "import time; time.sleep(600)"
    start = f"subprocess.Popen([sys.executable, '-c', {sleep!r}])"
    code = f"import subprocess, sys; child = {start}; print(child.pid, flush=True); child.wait()"

    def fail() -> None:
        with Cluster(python(code), {"worker": 2}, tmp_path) as cluster:
            wait_for(lambda: all(cluster.printed(task).endswith("\n") for task in cluster.tasks))
            children.extend(int(cluster.printed(task)) for task in cluster.tasks)
            raise KeyboardInterrupt

    children: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert len(children) == 2
    for child in children:
        wait_for(lambda child=child: ended(child))


def test_a_task_that_cannot_start_ends_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "worker-1.log").mkdir()
    cluster = Cluster(python("import time; time.sleep(60)"), {"worker": 2}, tmp_path)
    with pytest.raises(IsADirectoryError, match=r"worker-1\.log"), cluster:
        pass
    assert cluster.wait(0, ["worker 0"]) == {"worker 0": -signal.SIGKILL}


@pytest.mark.slow
def test_the_command_that_is_stopped_takes_its_processes_along(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mim_tf.cluster_check", "--workdir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as check:
        log = tmp_path / "logs" / "alone" / "alone.log"
        wait_for(lambda: log.exists() and "prepare: started" in log.read_text())
        children = Path(f"/proc/{check.pid}/task/{check.pid}/children").read_text().split()
        check.terminate()
        assert check.wait(PATIENCE) == 143
    assert children
    assert all(ended(int(child)) for child in children)


def test_the_toy_run_can_be_read_and_copied(tmp_path: Path) -> None:
    run = ToyRun(tmp_path / "cluster")
    settings = load_settings(run.config)
    assert settings.data.shards >= 2  # as many as workers
    for stage in ("prepare", "pretrain", "csft"):
        (run.alone / stage).mkdir(parents=True)
        (run.alone / stage / "file").write_text(stage)
    workdir = run.before("csft", "trial")
    assert sorted(os.listdir(workdir)) == ["prepare", "pretrain"]
    assert (workdir / "pretrain" / "file").read_text() == "pretrain"


def test_a_folder_of_something_else_is_not_emptied(tmp_path: Path) -> None:
    trained = tmp_path / "W" / "csft" / "metrics.json"
    trained.parent.mkdir(parents=True)
    trained.touch()
    for folder in (tmp_path / "W", trained):
        with pytest.raises(
            StageError, match=rf"must be empty or an earlier check's.* Received: {folder}\. Delete it, or name another"
        ):
            ToyRun(folder)
    assert trained.exists()


def test_an_earlier_checks_folder_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    ToyRun(folder)
    (folder / "in-step" / "csft").mkdir(parents=True)
    (folder / "note.txt").touch()
    ToyRun(folder)
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {"shop", "run.yaml"}


def outcome(folder: Path, stage: str, **metrics: float) -> Outcome:
    (folder / stage).mkdir(parents=True)
    (folder / stage / "metrics.json").write_text(json.dumps(metrics))
    return Outcome(folder, stage)


def test_the_greatest_difference_counts_and_speed_does_not(tmp_path: Path) -> None:
    one = outcome(tmp_path / "1", "csft", loss=9.0, start_mrr=0.25, examples_per_second=10, seconds=100, steps=180)
    other = outcome(tmp_path / "2", "csft", loss=8.0, start_mrr=0.5, examples_per_second=99, seconds=7, steps=180)
    assert one.difference_from(other) == 0.25  # 1 / 8 of the loss is less
    assert one.difference_from(one) == 0
    assert (one.value, one.steps) == (9, 180)


def test_of_the_click_models_the_aucs_of_the_first_two_epochs_count(tmp_path: Path) -> None:
    def trained(name: str, model: list[float], base: list[float]) -> Outcome:
        found = outcome(tmp_path / name, "rank", auc=0.625)
        checkpoints = found.workdir / "rank" / "checkpoints"
        checkpoints.mkdir()
        for variant, aucs in (("model", model), ("base", base)):
            by_epoch = {str(epoch): auc for epoch, auc in enumerate(aucs)}
            (checkpoints / f"{variant}-0-auc.json").write_text(json.dumps(by_epoch))
        return found

    one = trained("1", [0.5, 0.625, 0.75], [0.5, 0.5, 0.5])
    assert one.difference_from(trained("2", [0.5, 0.625, 0.25], [0.5, 0.5, 1.0])) == 0
    assert one.difference_from(trained("3", [0.5, 0.75, 0.75], [0.5, 0.5, 0.5])) == 0.125
    assert one.difference_from(trained("4", [0.5, 0.625, 0.75], [0.75, 0.5, 0.5])) == 0.25
    assert one.steps is None


def test_the_first_model_is_there_once_its_weights_are_written(tmp_path: Path) -> None:
    found = Outcome(tmp_path, "rank")
    (tmp_path / "rank" / "checkpoints" / "model-0-backup").mkdir(parents=True)
    assert not found.first_model_is_there
    (tmp_path / "rank" / "checkpoints" / "model-0.index").touch()
    assert found.first_model_is_there


def test_a_click_model_that_has_learnt_nothing_is_told(tmp_path: Path) -> None:
    # 440 of 2,218 impressions are bought: the AUC of chance has a standard error of
    # sqrt(2219 / (12 * 440 * 1778)) = 0.0154, and hardly comes to 0.5 + 4 * 0.0154 = 0.5616.
    chance = outcome(tmp_path / "1", "rank", auc=0.5616)
    assert chance.problem == "has learnt too little: its AUC is 0.562, less than 0.58"
    assert outcome(tmp_path / "2", "rank", auc=0.70).problem == ""
    assert outcome(tmp_path / "3", "csft", loss=0.4).problem == ""


def test_who_goes_on_says_where_from(tmp_path: Path) -> None:
    assert Outcome(tmp_path, "rank").continued("model-0: continues at epoch 1 of 6\n", 1)
    assert not Outcome(tmp_path, "rank").continued("model-0: continues at epoch 11 of 60\n", 1)
    assert not Outcome(tmp_path, "rank").continued("", 1)
    assert Outcome(tmp_path, "csft").continued("continues at step 20 of 180\n", 20)
    assert not Outcome(tmp_path, "csft").continued("continues at step 40 of 180\n", 20)


@pytest.mark.parametrize(
    ("stage", "folder"),
    [("pretrain", "image_text"), ("csft", "."), ("rank", "model-0-backup/chief"), ("rank", "model-0-backup")],
)
def test_the_last_checkpoint_is_found(tmp_path: Path, stage: str, folder: str) -> None:
    found = Outcome(tmp_path, stage)
    assert found.saved == 0
    checkpoints = tmp_path / stage / "checkpoints" / folder
    (checkpoints / "best").mkdir(parents=True)
    for name in ("ckpt-20.index", "ckpt-100.index", "ckpt-120.data-00000-of-00001", "best/ckpt-160.index"):
        (checkpoints / name).touch()
    assert found.saved == 100


def test_the_table_tells_what_does_not_hold() -> None:
    trials = [
        Trial("csft: in step", 2, 41.4, 180.0, 2.5, 3e-6),
        Trial("csft: a worker lost", 2, 80, 180.0, 2.5, 0.5, "differs", "worker 1", 9.6, 20),
        Trial("rank: servers", 4, 80, None, 0.7, None),
    ]
    heading, first, second, third = (re.split(r"  +", line) for line in table(trials).splitlines())
    told = dict(zip(heading, first, strict=True))
    assert list(told)[:4] == ["what ran", "processes", "seconds", "steps"]
    assert list(told)[4:7] == ["lost", "others left after", "went on from"]
    assert list(told.values()) == ["csft: in step", "2", "41", "180", "-", "-", "-", "2.5000", "3.0e-06", "ok"]
    assert second[4:7] == ["worker 1", "10", "20"]
    assert second[-1] == "differs"
    assert third[-3:] == ["0.7000", "-", "ok"]
