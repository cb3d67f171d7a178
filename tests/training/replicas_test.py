"""Two replicas of a half batch train as one of the whole batch does: losses, gradients, weights, averages."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.free_addresses import free_addresses

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("two_replicas.py")
ROUNDING = 1e-5
Differences = dict[str, dict[str, float]]


def start(*cases: str, **environment: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *cases],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> Any:
    stdout, stderr = process.communicate(timeout=900)
    assert process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


def assert_as_one_replica(found: Differences) -> None:
    differences = {
        f"{case}: {what}": value for case, of in found.items() for what, value in of.items() if what != "moved"
    }
    assert {what: value for what, value in differences.items() if not value < ROUNDING} == {}
    moved = [of["moved"] for of in found.values() if "moved" in of]
    assert moved
    assert min(moved) > 100 * ROUNDING  # the steps were steps


def test_two_devices_train_as_one() -> None:
    found = answer(start())
    assert len(found) == 12
    assert_as_one_replica(found)


def test_two_workers_train_as_one() -> None:
    addresses = free_addresses(2)
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} for index in range(2)]
    workers = [start(TF_CONFIG=json.dumps(config)) for config in configs]
    try:
        for worker in workers:
            found = answer(worker)
            assert len(found) == 12
            assert_as_one_replica(found)
    finally:
        for worker in workers:
            worker.kill()
