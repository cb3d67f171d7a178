"""`2NP(k + 1) - 1` with P = 2, from the empty queue to the wrapped one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.slow
def test_two_replicas_have_the_negatives_of_both() -> None:
    script = Path(__file__).with_name("replica_negatives.py")
    paths = os.pathsep.join([str(script.parents[2]), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, str(script)], {**os.environ, "PYTHONPATH": paths}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert len(found) == 6
    for case, steps in found.items():
        pairs, k = map(int, case.split())
        assert len(steps) == k + 3
        for step, values in enumerate(steps):
            expected = 2 * pairs * 2 * (min(step, k) + 1) - 1
            np.testing.assert_allclose(values, [expected] * 4, rtol=1e-4, err_msg=f"{case}, step {step}")
