"""What a process measures of a step: on real records, by the impression that was shown."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import tensorflow as tf

from mim_tf.efficiency.measured_step import INFERENCE, TRAINING, main, measured_step
from mim_tf.settings import Settings
from tests.training.toy_ranking import make_workdir

WIDTHS = (18, 256, 128, 1)  # three embeddings of two numbers: of the interest, of its product with the target, its own
TOWER = 2 * sum(width * units for width, units in pairwise(WIDTHS))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    folder = tmp_path_factory.mktemp("run")
    return make_workdir(folder, ubm="average", tower_units=list(WIDTHS[1:-1])), folder


@pytest.mark.legacy_keras
def test_operations_are_those_of_the_impressions_shown(run: tuple[Settings, Path]) -> None:
    settings, folder = run
    inference = measured_step(settings, folder, "base", INFERENCE, steps=1)
    assert inference.gflops * 1e9 == pytest.approx(TOWER, rel=0.05)  # beside which the interest is nothing
    # Adam takes eleven for each weight of a batch of 64: three for m, four for v, four for the weight.
    training = measured_step(settings, folder, "base", TRAINING, steps=1)
    assert training.gflops * 1e9 == pytest.approx(3 * TOWER + 11 * TOWER / 2 / 64, rel=0.05)


@pytest.mark.legacy_keras
def test_content_costs_more(run: tuple[Settings, Path]) -> None:
    settings, folder = run
    base, model = (measured_step(settings, folder, variant, TRAINING, steps=2) for variant in ("base", "model"))
    # Wider by two interests of six numbers, one of four, and as much again of products; its input has a gradient too.
    width = 2 * (6 + 4) * WIDTHS[1] * 2 * 3
    assert (model.gflops - base.gflops) * 1e9 == pytest.approx(width, rel=0.1)
    assert base.seconds > 0
    assert base.memory >= base.memory_before > 50e6  # bytes: TensorFlow alone takes more


@pytest.mark.legacy_keras
def test_empty_batches_are_passed_over(run: tuple[Settings, Path]) -> None:
    """Of a batch's impressions a draw keeps hardly any."""
    settings, folder = run
    rare = settings.model_copy(update={"rank": settings.rank.model_copy(update={"negatives_kept": 0.01})})
    cost = measured_step(rare, folder, "base", INFERENCE, steps=3)
    assert cost.gflops * 1e9 == pytest.approx(TOWER, rel=0.05)
    assert tf.math.is_finite(cost.seconds)


def test_no_steps_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", "run.yaml", "--workdir", "W", "--variant", "base", "--mode", TRAINING, "--steps", "0"]
    monkeypatch.setattr(sys, "argv", ["measured_step", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "`--steps` must be positive. Received: 0." in capsys.readouterr().err
