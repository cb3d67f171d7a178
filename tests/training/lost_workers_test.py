"""A worker of parameter servers that is lost in a training takes part in the next one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PATIENCE = 400  # seconds, of a machine that does much else; who is not taken back hangs


@pytest.mark.slow
@pytest.mark.legacy_keras
def test_a_worker_lost_in_one_training_does_the_next_one() -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tests.training.lost_workers"]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    *trained, beyond = np.array(json.loads(done.stdout.splitlines()[-1]))
    np.testing.assert_array_equal(trained, np.ones([3, 600]))  # by one worker, so in order: nothing is on its way
    assert beyond.sum() == 0
