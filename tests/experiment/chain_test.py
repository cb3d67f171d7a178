"""Chains: what is computed once, what anew, and workdirs that other commands can use."""

from pathlib import Path
from typing import Any

import pytest

from mim_tf.errors import SettingsError
from mim_tf.experiment.chain import Chain, changed, without_pretraining
from mim_tf.experiment.task import tasks_of
from mim_tf.settings import Settings, load_settings
from mim_tf.workdir import STAGES, StageFolder

SETTINGS = Settings.model_validate(
    {
        "data": {"items": "items.parquet", "impressions": "impressions.parquet", "validation_from": 5},
        "pretrain": {"masked_language": {}},
    }
)


def chain(folder: Path, **changes: Any) -> Chain:
    return Chain(changed(SETTINGS, {name.replace("__", "."): value for name, value in changes.items()}), folder)


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"rank__ubm": "din"}, 4),
        ({"rank__strategy": "mirrored"}, 5),  # where it runs, not what it trains
        ({"represent__rows": "int8"}, 4),  # which the click model's table has
        ({"represent__centre": False}, 3),
        ({"csft__alpha": 0.0}, 2),
        ({"pretrain__masked_language": None}, 1),
        ({"seed": 1}, 0),
        ({"export__model_name": "other"}, 5),
        ({"experiment__seeds": 9}, 5),
    ],
)
def test_chains_share_the_stages_up_to_the_first_that_differs(
    tmp_path: Path, changes: dict[str, Any], shared: int
) -> None:
    one, other = chain(tmp_path), chain(tmp_path, **changes)
    same = [one.workdir(stage) == other.workdir(stage) for stage in STAGES]
    assert same == [True] * shared + [False] * (5 - shared)


def finish(chain: Chain, stage: str) -> None:
    """Run a stage that does nothing, as the commands do."""
    settings = load_settings(chain.begin(stage))
    folder = StageFolder(chain.workdir(stage), stage)
    for earlier in STAGES[: STAGES.index(stage)]:
        StageFolder(chain.workdir(stage), earlier).require(settings, "--config C")
    with folder.begin(settings):
        folder.finish({"seconds": float(len(stage))})


def test_a_stages_workdir_is_one_for_all_commands(tmp_path: Path) -> None:
    mine, other = chain(tmp_path / "here"), chain(tmp_path / "here", rank__ubm="din")
    for stage in STAGES:
        finish(mine, stage)
    finish(other, "rank")
    (tmp_path / "here").rename(tmp_path / "moved")  # links are relative
    moved = Chain(other.settings, tmp_path / "moved").workdir("rank")
    settings = load_settings(moved / "run.yaml")
    found = {stage: StageFolder(moved, stage).require(settings, "--config C").metrics for stage in STAGES}
    assert found == {stage: {"seconds": float(len(stage))} for stage in STAGES}
    assert settings.rank.ubm == "din"


def test_tasks_come_once_and_after_what_they_need(tmp_path: Path) -> None:
    chains = [chain(tmp_path), chain(tmp_path, rank__ubm="din"), chain(tmp_path, csft__alpha=0.0)]
    tasks = tasks_of((chain, "rank") for chain in chains)
    assert [task.stage for task in tasks.values()] == [
        *("prepare", "pretrain", "csft", "represent", "rank"),
        "rank",
        *("csft", "represent", "rank"),
    ]
    seen: set[Path] = set()
    for path, task in tasks.items():
        assert set(task.needs) <= seen
        assert len(task.needs) == STAGES.index(task.stage)
        seen.add(path)


def test_a_chain_may_begin_with_anothers_encoders(tmp_path: Path) -> None:
    clicks = chain(tmp_path, data__pairs_action="click").with_encoders_of(chain(tmp_path))
    left = chain(tmp_path).workdir("pretrain") / "pretrain"
    assert clicks.settings.encoders.vision.weights == str(left / "vision")
    assert clicks.settings.encoders.text.weights == str(left / "text")
    assert all(value is None for name, value in clicks.settings.pretrain if name != "strategy")
    tasks = list(tasks_of([(clicks, "csft")]).values())
    assert [task.stage for task in tasks] == ["prepare", "pretrain", "prepare", "pretrain", "csft"]
    assert tasks[1].workdir == chain(tmp_path).workdir("pretrain")
    assert tasks[1].workdir in tasks[3].needs
    assert [task.stage for task in tasks_of([(clicks, "prepare")]).values()] == ["prepare"]


def test_an_earlier_runs_encoder_leaves_stages_out(tmp_path: Path) -> None:
    given = chain(tmp_path, represent__encoder="W1/represent/item_encoder")
    assert given.stages == ("prepare", "represent", "rank")
    assert [task.stage for task in tasks_of([(given, "rank")]).values()] == ["prepare", "represent", "rank"]
    assert given.workdir("rank") == chain(
        tmp_path, represent__encoder="W1/represent/item_encoder", csft__alpha=0.0
    ).workdir("rank")


def test_changes_are_checked() -> None:
    assert changed(SETTINGS, {"csft.st_nsg": None}).csft.st_nsg is None
    assert changed(SETTINGS, without_pretraining("image_text")).pretrain.masked_language is None
    with pytest.raises(SettingsError, match=r"(?s)csft\.loss, csft\.st_nsg: 1 wrong setting.*needs the hard negatives"):
        changed(SETTINGS, {"csft.loss": "matching", "csft.st_nsg": None})
