"""The four versions of table 6, each measured in processes of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mim_tf.efficiency.efficiency import VERSIONS, EfficiencyRow, efficiency
from mim_tf.efficiency.step_cost import StepCost
from mim_tf.errors import StageError
from mim_tf.workdir import StageFolder, earlier_stages
from tests.efficiency.encoder_by_hand import BLOCKS, FUSION, NORMALISED, PATCH_EMBEDDING, SINGLE
from tests.efficiency.toy_run import settings_of

slow = pytest.mark.slow
BASE, FROZEN, LEARNING, TABLE = VERSIONS


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("efficiency")
    run = subprocess.run([sys.executable, "-m", "tests.efficiency.toy_run", folder], capture_output=True, timeout=600)
    assert run.returncode == 0, run.stderr.decode()
    return folder


@pytest.fixture(scope="module")
def rows(workdir: Path) -> dict[str, EfficiencyRow]:
    return {row.version: row for row in efficiency(settings_of(workdir), workdir, "", steps=2)}


def first_batch(workdir: Path) -> dict[str, Any]:
    """What the operations are counted on."""
    from mim_tf.training.rank_input import EpochPlan, training_sessions

    records, settings = workdir / "prepare" / "records", settings_of(workdir)
    plan = EpochPlan.of(records, settings.rank)
    return next(training_sessions(records, settings.rank, settings.seed, plan).as_numpy_iterator())


@slow
def test_the_encoder_costs_what_it_costs_by_hand(workdir: Path, rows: dict[str, EfficiencyRow]) -> None:
    batch = first_batch(workdir)
    items = {*batch["item_id"].ravel(), *batch["history_item_id"].ravel()} - {-1}
    # The shop's images are 64 by 64: their width is halved first. After each axis grey levels are rounded and clipped,
    # from below and from above.
    resized = 2 * (64 * 32 * 3) + 2 * (32 * 32 * 3)
    forwards = PATCH_EMBEDDING + BLOCKS + FUSION + SINGLE + NORMALISED + resized
    per_sample = len(items) / batch["is_shown"].sum() / 1e9
    # In turn: the frozen encoder goes forwards alone; one that learns once more, and backwards.
    twice = 2 * forwards + PATCH_EMBEDDING + 2 * (BLOCKS + FUSION + SINGLE)
    for version, training in ((FROZEN, forwards), (LEARNING, twice)):
        more = rows[version].training.gflops - rows[TABLE].training.gflops
        assert more == pytest.approx(training * per_sample, rel=0.05)
        more = rows[version].inference.gflops - rows[TABLE].inference.gflops
        assert more == pytest.approx(forwards * per_sample, rel=0.05)


@slow
def test_without_the_center_inference_is_the_same_whether_the_encoder_learns(rows: dict[str, EfficiencyRow]) -> None:
    assert rows[FROZEN].inference.gflops == pytest.approx(rows[LEARNING].inference.gflops, rel=1e-3)


@slow
def test_changes_are_relative_to_base(rows: dict[str, EfficiencyRow]) -> None:
    assert list(rows) == list(VERSIONS)
    assert rows[BASE].training_change == rows[BASE].inference_change == StepCost(0.0, 0.0, 0.0, 0.0)
    for row in rows.values():
        for cost, change, of_base in (
            (row.training, row.training_change, rows[BASE].training),
            (row.inference, row.inference_change, rows[BASE].inference),
        ):
            for number, relative, base in zip(cost, change, of_base, strict=True):
                assert number == pytest.approx(base * (1 + relative))
            assert cost.seconds > 0
            assert cost.memory >= cost.memory_before > 50e6  # TensorFlow alone takes more


@slow
def test_a_process_that_fails_says_why(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier release left no encoder that a process with tf_keras can run."""
    monkeypatch.setattr("mim_tf.efficiency.efficiency.VERSIONS", {FROZEN: VERSIONS[FROZEN]})
    for stage in ("prepare", "pretrain", "csft"):
        (tmp_path / stage).symlink_to(workdir / stage)
    (tmp_path / "represent").mkdir()
    for part in (workdir / "represent").iterdir():
        if part.name != "item_encoder_model":
            (tmp_path / "represent" / part.name).symlink_to(part)
    with pytest.raises(
        StageError, match=r"training of .*\(w/o RC\) ended with code 1: .*item_encoder_model is missing"
    ):
        efficiency(settings_of(workdir), tmp_path, "", steps=1)


def test_processes_take_turns_and_their_medians_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    for stage in earlier_stages("rank", settings):
        with StageFolder(tmp_path, stage).begin(settings):
            StageFolder(tmp_path, stage).finish({"seconds": 1.0})
    started: list[tuple[str, str]] = []

    def measured(config: Path, workdir: Path, version: str, mode: str, steps: int) -> StepCost:
        started.append((version, mode))
        took = [5.0, 1.0, 2.0][started.count((version, mode)) - 1]
        return StepCost(1.0 if version == BASE else 4.0, took, 2 * took, took)

    monkeypatch.setattr("mim_tf.efficiency.efficiency._measured", measured)
    rows = efficiency(settings, tmp_path, "", rounds=3)
    once = [(version, mode) for version in VERSIONS for mode in ("training", "inference")]
    assert started == 3 * once
    assert all(row.training == row.inference == StepCost(row.training.gflops, 2.0, 4.0, 2.0) for row in rows)
    assert [row.training_change.gflops for row in rows] == [0.0, 3.0, 3.0, 3.0]


def test_the_command_to_run_first_is_named(tmp_path: Path) -> None:
    with StageFolder(tmp_path, "prepare").begin(settings_of(tmp_path)):
        pass
    with pytest.raises(StageError, match=r"Run first: python -m mim_tf\.prepare --config run\.yaml"):
        efficiency(settings_of(tmp_path), tmp_path, "--config run.yaml")
