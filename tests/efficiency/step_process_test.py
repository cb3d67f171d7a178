"""The command that measures a step."""

import json
import sys
from pathlib import Path

import pytest

from mim_tf.efficiency.step_cost import INFERENCE, TRAINING
from mim_tf.efficiency.step_process import main
from tests.training.toy_ranking import make_workdir

ARGUMENTS = ["step_process", "--variant", "base"]


@pytest.mark.legacy_keras
def test_it_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_workdir(tmp_path, ubm="average")
    run = ["--config", str(tmp_path / "run.yaml"), "--workdir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*ARGUMENTS, *run, "--mode", INFERENCE, "--steps", "1"])
    capsys.readouterr()
    main()
    cost = json.loads(capsys.readouterr().out)
    assert set(cost) == {"gflops", "seconds", "memory", "memory_before"}
    assert all(number > 0 for number in cost.values())


@pytest.mark.parametrize("steps", ["0", "-1", "two"])
def test_no_steps_are_refused(steps: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--config", "run.yaml", "--workdir", "W"]
    monkeypatch.setattr(sys, "argv", [*ARGUMENTS, *run, "--mode", TRAINING, f"--steps={steps}"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"`--steps` must be a positive number. Received: {steps}." in capsys.readouterr().err
