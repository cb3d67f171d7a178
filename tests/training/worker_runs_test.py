"""Two workers run stages 1 and 2 by the command: to the end, stopped by SIGTERM, and with one of them killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mim_tf.data.demo_shop import make_demo_shop

pytestmark = pytest.mark.slow

CONFIG = """\
data: {{items: {shop}/items.parquet, impressions: {shop}/impressions.parquet, validation_from: 2025-01-17, shards: 2}}
encoders:
  vision: {{name: vit_toy, image_size: 32}}
  text: {{name: bert_toy, length: 8}}
  dim: 8
pretrain:
  strategy: multi_worker
  image_text: {{epochs: {epochs}, batch_size: 20, evaluate_every: 50}}
csft: {{strategy: multi_worker, epochs: 2, batch_size: 16, st_nsg: {{queue_batches: 2, momentum: 0.9}}}}
"""
ENV = {name: value for name, value in os.environ.items() if name not in ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL")}
PATIENCE = 400  # seconds, of a machine that does much else


class Pair:
    """Two workers on one workdir."""

    def __init__(self, folder: Path, epochs: int):
        self.pretrain = folder / "work" / "pretrain"
        self.config = folder / "run.yaml"
        make_demo_shop(folder / "shop", items=60, users=60, days=20, searches=10)
        self.config.write_text(CONFIG.format(shop=folder / "shop", epochs=epochs))
        subprocess.run(self.command("prepare"), check=True, capture_output=True, env=ENV)

    def command(self, module: str, *arguments: str) -> list[str]:
        run = ["--config", str(self.config), "--workdir", str(self.pretrain.parent)]
        return [sys.executable, "-m", f"mim_tf.{module}", *run, *arguments]

    def start(self, stage: str = "pretrain") -> list[subprocess.Popen[str]]:
        listeners = [socket.create_server(("", 0)) for _ in range(2)]
        addresses = [f"localhost:{listener.getsockname()[1]}" for listener in listeners]
        for listener in listeners:
            listener.close()
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

    def steps_saved(self) -> int:
        """Number of the last checkpoint."""
        files = (self.pretrain / "checkpoints" / "image_text").glob("ckpt-*.index")
        return max((int(file.stem.split("-")[1]) for file in files), default=0)


def outputs(workers: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    try:
        return [worker.communicate(timeout=PATIENCE) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_the_chief_alone_writes_and_a_stopped_run_continues(tmp_path: Path) -> None:
    pair = Pair(tmp_path, epochs=120)
    workers = pair.start()
    pair.wait(lambda: pair.steps_saved() > 0)
    workers[1].send_signal(signal.SIGTERM)
    errors = [stderr for _, stderr in outputs(workers)]
    assert [worker.returncode for worker in workers] == [143, 143], errors
    assert all("with a checkpoint. The same command continues" in error for error in errors)
    stopped_at = pair.steps_saved()
    assert stopped_at >= 100

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
def test_a_worker_that_is_killed_is_reported_by_the_other(tmp_path: Path, victim: int) -> None:
    pair = Pair(tmp_path, epochs=4000)
    workers = pair.start()
    pair.wait(lambda: pair.steps_saved() > 0)
    workers[victim].kill()
    start = time.monotonic()
    _, error = outputs(workers)[1 - victim]
    assert time.monotonic() - start < 120
    assert workers[1 - victim].returncode == 1, error
    assert "another worker is lost. Run the same command again" in error
    assert "Traceback" not in error
