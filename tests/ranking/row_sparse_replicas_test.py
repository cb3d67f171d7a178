"""Under a strategy, half of the batch per replica or half of the table per server, training is as on one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.legacy_keras]
SCRIPT = Path(__file__).with_name("row_sparse_replicas.py")


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_as_alone(process: subprocess.Popen[str]) -> None:
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    found = json.loads(stdout.splitlines()[-1])
    assert found["difference"] < 1e-5
    assert found["moved"] > 1e-3  # the steps were steps


@pytest.mark.parametrize("strategy", ["mirrored", "parameter_server"])
def test_a_strategy_trains_as_one_device_does(strategy: str) -> None:
    assert_as_alone(start(strategy))


def test_two_workers_train_as_one_device_does() -> None:
    listeners = [socket.create_server(("", 0)) for _ in range(2)]
    addresses = [f"localhost:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(2)]
    workers = [start("multi_worker", TF_CONFIG=json.dumps(config)) for config in configs]
    try:
        for worker in workers:
            assert_as_alone(worker)
    finally:
        for worker in workers:
            worker.kill()
