"""An experiment's seeds, its budget, and what it says of what is missing; stages are finished by the test itself."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mim_tf.errors import SettingsError
from mim_tf.experiment import experiment as module
from mim_tf.experiment.chain import changed
from mim_tf.experiment.experiment import Experiment
from mim_tf.experiment.lanes import OVER
from mim_tf.experiment.task import Task
from mim_tf.experiment.versions import Version, base, ciubm_ablations, mim, signals_and_losses
from mim_tf.settings import Settings
from mim_tf.training.scoring import predictions_path
from tests.experiment.toy_scores import scored

SETTINGS = Settings.model_validate(
    {
        "data": {"items": "i", "impressions": "l", "pairs": "p", "validation_from": 5},
        "rank": {"ubm": "bst", "tower_units": [8]},
        "experiment": {"seeds": 3, "ubms": {"bst": {"epochs": 8}}},
    }
)


class FakeLanes:
    """Finishes all tasks at once; a stage takes as many of the clock's seconds as the test says."""

    clock = 0.0
    seconds = 0.0
    fails: Callable[[Task], str | None] = staticmethod(lambda task: None)

    def __init__(self, count: int, logs: Path, say: Callable[[str], None]) -> None:
        pass

    def compute(self, tasks: Mapping[Path, Task], deadline: float) -> dict[Path, str]:
        failed: dict[Path, str] = {}
        for path, task in tasks.items():
            earlier = [failed[needed] for needed in task.needs if needed in failed]
            error = earlier[0] if earlier else self.fails(task) or (OVER if self.now() > deadline else None)
            if error:
                failed[path] = error
            elif not task.finished:
                type(self).clock += self.seconds
                finish(task)
        return failed

    @classmethod
    def now(cls) -> float:
        return cls.clock


def finish(task: Task) -> None:
    folder = task.chain.folder(task.stage)
    folder.path.mkdir(parents=True)
    if task.stage == "rank":
        for variant in ("model", "base") if task.chain.settings.rank.base else ("model",):
            scored(0.5, task.chain.settings.seed).save(predictions_path(task.workdir, variant, 0))
    measured = {"held_out_mrr": 0.5} if task.stage == "csft" else {}
    folder.finish({**measured, "seconds": FakeLanes.seconds})


@pytest.fixture(autouse=True)
def lanes(monkeypatch: pytest.MonkeyPatch) -> type[FakeLanes]:
    monkeypatch.setattr(module, "Lanes", FakeLanes)
    monkeypatch.setattr(time, "monotonic", FakeLanes.now)
    FakeLanes.clock, FakeLanes.seconds, FakeLanes.fails = 0.0, 0.0, staticmethod(lambda task: None)
    return FakeLanes


def experiment(folder: Path, changes: Mapping[str, Any] | None = None, **options: Any) -> Experiment:
    return Experiment(changed(SETTINGS, changes or {}), folder, **options)


def test_a_seed_is_a_whole_chain(tmp_path: Path) -> None:
    found = experiment(tmp_path)
    found.compute([mim(SETTINGS), base(SETTINGS)])
    outcome = found.outcome(mim(SETTINGS))
    assert list(outcome.scored) == [0, 1, 2]
    assert outcome.missing is None
    assert [metrics["held_out_mrr"] for metrics in outcome.retrieval.values()] == [0.5] * 3
    assert found.outcome(base(SETTINGS)).retrieval == {}  # it has no embeddings
    np.testing.assert_array_equal(outcome.scored[2].probabilities, scored(0.5, 2).probabilities)
    for stage in ("prepare", "pretrain", "csft", "represent", "rank"):
        assert len(list((tmp_path / "stages").glob(f"{stage}-*"))) == 3
    both = found.outcome(mim(SETTINGS)), found.outcome(base(SETTINGS))
    assert both[0].scored[1].items is both[1].scored[1].items  # one copy
    chain = found.chain(mim(SETTINGS), 2)
    assert (chain.settings.seed, chain.settings.rank.seeds, chain.settings.rank.epochs) == (2, 1, 8)


def test_a_budget_has_whole_seeds(tmp_path: Path, lanes: type[FakeLanes]) -> None:
    """Five stages of a minute each: the second seed would end after ten minutes."""
    lanes.seconds = 60
    short = experiment(tmp_path, budget=9 * 60)
    short.compute([mim(SETTINGS)])
    outcome = short.outcome(mim(SETTINGS))
    assert list(outcome.scored) == [0]
    assert outcome.missing == f"2 of 3 seeds are missing: {OVER}"

    longer = experiment(tmp_path, budget=10 * 60)  # goes on with the second seed, and the third
    longer.compute([mim(SETTINGS)])
    assert list(longer.outcome(mim(SETTINGS)).scored) == [0, 1, 2]


def test_a_budget_knows_what_was_computed_before(tmp_path: Path, lanes: type[FakeLanes]) -> None:
    """The first seed is there already, and its stages have noted that they took a minute each."""
    lanes.seconds = 60
    first = experiment(tmp_path, {"experiment.seeds": 1})
    first.compute([mim(SETTINGS)])
    again = experiment(tmp_path, budget=4 * 60)
    again.compute([mim(SETTINGS)])
    assert list(again.outcome(mim(SETTINGS)).scored) == [0]


def test_the_first_seed_ends_where_the_budget_ends(tmp_path: Path, lanes: type[FakeLanes]) -> None:
    lanes.seconds = 60
    found = experiment(tmp_path, budget=150)
    found.compute([mim(SETTINGS)])
    assert found.outcome(mim(SETTINGS)).missing == OVER
    # Begun after 0, 60 and 120 seconds; after 180 the budget is over.
    assert sorted(path.parent.name for path in (tmp_path / "stages").glob("*/*/metrics.json")) == [
        "csft",
        "prepare",
        "pretrain",
    ]


def test_a_failure_is_the_reason_of_its_rows_alone(tmp_path: Path, lanes: type[FakeLanes]) -> None:
    def fails(task: Task) -> str | None:
        clicks = task.chain.settings.data.pairs_action == "click"
        return "csft: there are no clicks" if clicks and task.stage == "csft" else None

    lanes.fails = staticmethod(fails)
    found, rows = experiment(tmp_path), signals_and_losses(SETTINGS)
    found.compute(rows)
    assert [found.outcome(row).missing for row in rows] == [
        None,
        "csft: there are no clicks",
        None,
        "csft: there are no clicks",
        None,
    ]


def test_a_version_that_does_not_fit_says_so(tmp_path: Path) -> None:
    found = experiment(tmp_path)
    odd = Version("odd", {"csft.loss": "matching", "csft.st_nsg": None})
    found.compute([odd, mim(SETTINGS)])
    missing = found.outcome(odd).missing
    assert missing is not None
    assert "`loss: matching` needs the hard negatives of `st_nsg`" in missing
    assert "\n" not in missing
    assert found.outcome(mim(SETTINGS)).missing is None
    assert found.outcome(odd._replace(reason="told before")).missing == "told before"


def test_without_a_log_the_last_stage_is_fine_tuning(tmp_path: Path) -> None:
    found = experiment(tmp_path, {"data.impressions": None})
    ablations = ciubm_ablations(found.settings)
    found.compute([*ablations, mim(found.settings)])
    outcome = found.outcome(mim(found.settings))
    assert outcome.scored == {}
    assert list(outcome.retrieval) == [0, 1, 2]
    assert not list((tmp_path / "stages").glob("rank-*"))
    for version in (base(found.settings), *ablations):
        assert found.outcome(version).missing == "`data.impressions` is not set, so there is no click model"
        assert found.outcome(version).retrieval == {}


def test_runs_of_click_pairs_begin_with_the_encoders_of_stage_1(tmp_path: Path) -> None:
    found = experiment(tmp_path)
    clicks = found.chain(signals_and_losses(SETTINGS)[3], 1)
    assert clicks.pretrained is not None
    assert clicks.pretrained.settings == found.chain(mim(SETTINGS), 1).settings
    assert clicks.settings.pretrain.image_text is None


@pytest.mark.parametrize("name", ["data.records", "represent.store", "rank.start_from"])
def test_what_chains_cannot_share_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=rf"`{name}` must be left out of an experiment.* Received: W1"):
        experiment(tmp_path, {name: "W1"})
