"""Runs of stages 1 and 2 by the command: stopped by SIGTERM, one of two workers killed, continued on more devices."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mim_tf.data.demo_shop import make_demo_shop
from tests.training.free_addresses import free_addresses

pytestmark = pytest.mark.slow

CONFIG = """\
data: {{items: {shop}/items.parquet, impressions: {shop}/impressions.parquet, validation_from: 2025-01-17, shards: 2}}
encoders:
  vision: {{name: vit_toy, image_size: 32}}
  text: {{name: bert_toy, length: 8}}
  dim: 8
pretrain:
  strategy: multi_worker
  image_text: {{epochs: {epochs}, batch_size: 20, evaluate_every: 50, checkpoint_every: 20}}
csft: {{strategy: multi_worker, epochs: 2, batch_size: 16, st_nsg: {{queue_batches: 2, momentum: 0.9}}}}
"""
ENV = {name: value for name, value in os.environ.items() if name not in ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL")}
PATIENCE = 400  # seconds, of a machine that does much else


class Pair:
    """Two workers on one workdir."""

    def __init__(self, folder: Path, shop: Path, epochs: int):
        self.pretrain = folder / "work" / "pretrain"
        self.config = folder / "run.yaml"
        self.config.write_text(CONFIG.format(shop=shop, epochs=epochs))

    def command(self, module: str, *arguments: str) -> list[str]:
        run = ["--config", str(self.config), "--workdir", str(self.pretrain.parent)]
        return [sys.executable, "-m", f"mim_tf.{module}", *run, *arguments]

    def start(self, stage: str = "pretrain") -> list[subprocess.Popen[str]]:
        addresses = free_addresses(2)
        tasks = [
            json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
            for index in range(2)
        ]
        command = self.command("train", "--stage", stage)
        pipe = subprocess.PIPE
        return [
            subprocess.Popen(command, env={**ENV, "TF_CONFIG": task}, stdout=pipe, stderr=pipe, text=True)
            for task in tasks
        ]

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    def steps_saved(self, training: str = "pretrain/checkpoints/image_text") -> int:
        """Number of the last checkpoint."""
        files = (self.pretrain.parent / training).glob("ckpt-*.index")
        return max((int(file.stem.split("-")[1]) for file in files), default=0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop and the workdir of a run on it, which has its records."""
    folder = tmp_path_factory.mktemp("prepared")
    make_demo_shop(folder / "shop", items=60, users=60, days=20, searches=10)
    pair = Pair(folder, folder / "shop", epochs=1)
    subprocess.run(pair.command("prepare"), check=True, capture_output=True, env=ENV)
    return folder


def pair_on(prepared: Path, folder: Path, epochs: int) -> Pair:
    """On a copy of the workdir."""
    shutil.copytree(prepared / "work", folder / "work")
    return Pair(folder, prepared / "shop", epochs)


def outputs(workers: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    try:
        return [worker.communicate(timeout=PATIENCE) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_the_chief_alone_writes_and_a_stopped_run_continues(tmp_path: Path, prepared: Path) -> None:
    pair = pair_on(prepared, tmp_path, epochs=60)
    workers = pair.start()
    pair.wait(lambda: pair.steps_saved() > 0)
    workers[1].send_signal(signal.SIGTERM)
    errors = [stderr for _, stderr in outputs(workers)]
    assert [worker.returncode for worker in workers] == [143, 143], errors
    assert all("with a checkpoint. The same command continues" in error for error in errors)
    stopped_at = pair.steps_saved()
    assert stopped_at >= 20

    workers = pair.start()
    (shown, error), (other, _) = outputs(workers)
    assert [worker.returncode for worker in workers] == [0, 0], error
    assert f"continues at step {stopped_at} of" in error
    assert "pretrain: image_text_loss" in shown
    assert "pretrain: worker 1 is done" in other
    assert json.loads((pair.pretrain / "metrics.json").read_text())["image_text_steps"] > stopped_at
    events = list((pair.pretrain / "tensorboard" / "image_text").glob("events*"))
    assert len(events) == 2  # of the chief, one per run

    workers = pair.start("csft")
    (shown, error), (other, _) = outputs(workers)
    assert [worker.returncode for worker in workers] == [0, 0], error
    assert "start_recall_at_1" in shown
    assert "csft: worker 1 is done" in other

    from mim_tf.encoders import VisionEncoder

    assert VisionEncoder.load_folder(pair.pretrain / "vision").image_size == 32


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_is_reported_by_the_other(tmp_path: Path, prepared: Path, victim: int) -> None:
    pair = pair_on(prepared, tmp_path, epochs=4000)
    workers = pair.start()
    pair.wait(lambda: pair.steps_saved() > 0)
    workers[victim].kill()
    _, error = outputs(workers)[1 - victim]
    assert workers[1 - victim].returncode == 1, error
    assert "another worker is lost. Run the same command again" in error
    assert "Traceback" not in error


def test_a_worker_lost_while_tensorflow_starts_does_not_keep_the_other_for_ever() -> None:
    """The other one has been met and is gone: nobody listens at its port."""
    code = (
        "from mim_tf.training import strategies; strategies.meet = lambda *_: None; "
        "strategies.make_strategy('multi_worker', 3)"
    )
    addresses = free_addresses(2)
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 1}}
    environment = {**ENV, "TF_CONFIG": json.dumps(task)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 1, run.stderr
    assert "Timeout (0:00:03)!" in run.stderr
    assert "in make_strategy" in run.stderr


def test_csft_begun_on_one_device_goes_on_on_two(tmp_path: Path, prepared: Path) -> None:
    run = pair_on(prepared, tmp_path, epochs=1)
    options = ["pretrain.strategy=one_device", "pretrain.image_text=null", "csft.checkpoint_every=5"]
    settings = [part for option in options for part in ("--set", option)]

    def start(stage: str, *arguments: str) -> subprocess.Popen[str]:
        pipe, command = subprocess.PIPE, run.command("train", "--stage", stage, *settings, *arguments)
        return subprocess.Popen(command, env=ENV, stdout=pipe, stderr=pipe, text=True)

    outputs([start("pretrain")])
    alone = start("csft", "--set", "csft.strategy=one_device")
    run.wait(lambda: run.steps_saved("csft/checkpoints") > 0)
    alone.send_signal(signal.SIGTERM)
    [(_, error)] = outputs([alone])
    assert alone.returncode == 143, error
    stopped_at = run.steps_saved("csft/checkpoints")
    assert f"stopped after step {stopped_at} of" in error

    mirrored = start("csft", "--set", "csft.strategy=mirrored", "--cpu-devices", "2")
    [(shown, error)] = outputs([mirrored])
    assert mirrored.returncode == 0, error
    assert f"continues at step {stopped_at} of" in error
    assert "held_out_recall_at_1" in shown
    metrics = json.loads((run.pretrain.parent / "csft" / "metrics.json").read_text())
    assert metrics["steps"] > stopped_at
    assert metrics["negatives"] + metrics["false_negatives"] == pytest.approx(2 * 16 * (2 + 1) - 1)  # of both devices
