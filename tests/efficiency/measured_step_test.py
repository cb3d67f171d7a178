"""What a process measures of a step: on real records, by the impression that was shown."""

from itertools import pairwise
from pathlib import Path

import pytest

from mim_tf.efficiency.step_cost import INFERENCE, TRAINING, StepCost
from mim_tf.settings import Settings
from mim_tf.training.rank_input import EpochPlan
from tests.training.toy_ranking import make_workdir

pytestmark = pytest.mark.legacy_keras

WIDTHS = (18, 256, 128, 1)  # three embeddings of two numbers: of the interest, of its product with the target, its own
TOWER = 2 * sum(width * units for width, units in pairwise(WIDTHS))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    folder = tmp_path_factory.mktemp("run")
    return make_workdir(folder, ubm="average", tower_units=list(WIDTHS[1:-1])), folder


def measured(settings: Settings, folder: Path, variant: str, mode: str, steps: int = 1) -> StepCost:
    from mim_tf.efficiency.measured_step import measured_step

    return measured_step(settings, folder, variant, mode, steps)


def test_operations_are_those_of_the_impressions_shown(run: tuple[Settings, Path]) -> None:
    settings, folder = run
    inference = measured(settings, folder, "base", INFERENCE)
    assert inference.gflops * 1e9 == pytest.approx(TOWER, rel=0.05)  # beside which the interest is nothing
    # Adam takes eleven for each weight of a batch of 64: three for m, four for v, four for the weight.
    training = measured(settings, folder, "base", TRAINING)
    assert training.gflops * 1e9 == pytest.approx(3 * TOWER + 11 * TOWER / 2 / 64, rel=0.05)


def test_content_costs_more(run: tuple[Settings, Path]) -> None:
    settings, folder = run
    base, model = (measured(settings, folder, variant, TRAINING, steps=2) for variant in ("base", "model"))
    # The tower's first layer is wider by (7), of four numbers, (8), of six, and their products with the target; it goes
    # forwards, and has gradients by weights and inputs.
    wider = 3 * 2 * (2 * (4 + 6) * WIDTHS[1])
    assert (model.gflops - base.gflops) * 1e9 == pytest.approx(wider, rel=0.1)
    assert base.seconds > 0
    assert base.memory >= base.memory_before > 50e6  # bytes: TensorFlow alone takes more


def test_a_batch_that_shows_nothing_is_passed_over(run: tuple[Settings, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of an epoch whose plan was an estimate: here the second step finds all impressions taken."""
    settings, folder = run
    monkeypatch.setattr(EpochPlan, "of", lambda *_: EpochPlan(rows=100_000, steps=2))
    cost = measured(settings, folder, "base", INFERENCE)
    assert cost.gflops * 1e9 == pytest.approx(TOWER, rel=0.05)
    assert 0 < cost.seconds < 60
