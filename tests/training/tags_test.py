"""TENSORBOARD.md against the event files of toy trainings: no tag without a line, no line without a tag."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.settings import Settings
from mim_tf.workdir import StageFolder
from tests.training.toy_ranking import make_workdir
from tests.training.traces import planes, steps_in

PAGE = Path(__file__).parents[2] / "mim_tf" / "training" / "TENSORBOARD.md"
SECTIONS = ("Stage 1", "Stage 2", "Representation center", "Stage 3", "Hyper-parameters")
ONE_EPOCH: dict[str, Any] = {"epochs": 1, "batch_size": 20}
OWN = ("_hparams_/session_start_info", "_hparams_/session_end_info")  # the plugin's, which shows no tags


def rows_of(section: str) -> list[list[str]]:
    """The cells of a section's table."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def documented(section: str) -> list[str]:
    """Patterns of tags."""
    tags = [tag for cells in rows_of(section) for tag in re.findall(r"`([^`]+)`", cells[0])]
    return [re.sub(r"<\w+>", ".+", re.escape(tag).replace(r"\<", "<").replace(r"\>", ">")) for tag in tags]


def written(stage: StageFolder) -> tuple[set[str], set[str]]:
    """The tags in a stage's event files: those of its runs, and of the runs named `hparams`."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(stage.tensorboard))
    events.Reload()
    tags: dict[bool, set[str]] = {True: set(), False: set()}
    for run, kinds in events.Runs().items():
        tags[run.split("/")[-1] == "hparams"] |= set(kinds["tensors"]) - set(OWN)
    return tags[False], tags[True]


def unmatched(patterns: list[str], tags: set[str]) -> tuple[set[str], set[str]]:
    """Patterns that no tag matches, and tags that no pattern does."""
    matches = {pattern: {tag for tag in tags if re.fullmatch(pattern, tag)} for pattern in patterns}
    return {pattern for pattern in patterns if not matches[pattern]}, tags - set().union(*matches.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_every_tag_has_a_meaning_and_stands_there_once(section: str) -> None:
    rows = rows_of(section)
    assert {len(cells) for cells in rows} == {3}
    assert all(cells[1] or cells[2] for cells in rows)
    patterns = documented(section)
    assert len(patterns) == len(set(patterns)) > 0


def run_stages(folder: Path, stages: list[str], tree: dict[str, Any]) -> dict[str, StageFolder]:
    from mim_tf.training.stages import run_stage

    settings = Settings.model_validate(tree)
    for stage in stages:
        run_stage(stage, settings, folder, "")
    return {stage: StageFolder(folder, stage) for stage in stages}


@pytest.fixture(scope="module")
def tree_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Settings of toy stages on a drawn shop."""
    shop = tmp_path_factory.mktemp("shop")
    make_demo_shop(shop, items=60, users=40, days=20, searches=60)
    files = {name: str(shop / f"{name}.parquet") for name in ("items", "impressions", "pairs")}

    def tree(vision: str, text: str, **sections: Any) -> dict[str, Any]:
        encoders = {"vision": {"name": vision, "image_size": 32}, "text": {"name": text, "length": 8}, "dim": 4}
        data = {**files, "validation_from": "2025-01-15", "shards": 1, "held_out": 0.2}
        return {"data": data, "encoders": encoders, **sections}

    return tree


@pytest.mark.slow
def test_stages_1_and_2_and_the_center(tree_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    bidirectional = {"masked_language": ONE_EPOCH, "masked_image": ONE_EPOCH, "image_text": ONE_EPOCH}
    csft = {"epochs": 3, "batch_size": 16, "st_nsg": {"queue_batches": 2}}
    first = run_stages(
        tmp_path / "first",
        ["prepare", "pretrain", "csft", "represent"],
        tree_of("vit_toy", "bert_toy", pretrain=bidirectional, csft=csft),
    )
    others = {"causal_language": ONE_EPOCH, "image_views": ONE_EPOCH, "image_text": None}
    second = run_stages(
        tmp_path / "second",
        ["prepare", "pretrain", "csft"],
        tree_of("resnet_toy", "gpt2_toy", pretrain=others, csft=csft | {"loss": "category"}),
    )
    seen = {name: [written(stages[name]) for stages in (first, second) if name in stages] for name in first}
    of_runs = {name: set().union(*(tags for tags, _ in found)) for name, found in seen.items()}
    assert unmatched(documented("Stage 1"), of_runs["pretrain"]) == (set(), set())
    assert unmatched(documented("Stage 2"), of_runs["csft"]) == (set(), set())
    assert unmatched(documented("Representation center"), of_runs["represent"]) == (set(), set())
    of_table = set().union(*(tags for found in seen.values() for _, tags in found))
    of_rank = {"auc", "grouped_auc", "log_loss", "calibration_error"}
    assert unmatched(documented("Hyper-parameters"), of_table) == (of_rank, set())


@pytest.mark.slow
@pytest.mark.legacy_keras
def test_stage_3(tmp_path: Path) -> None:
    from mim_tf.training.stages import run_stage

    settings = make_workdir(tmp_path, schedule="cosine", profile=[1, 3])
    run_stage("rank", settings, tmp_path, "")
    stage = StageFolder(tmp_path, "rank")
    of_runs, of_table = written(stage)
    assert unmatched(documented("Stage 3"), of_runs) == (set(), set())
    assert of_table == {"auc", "grouped_auc", "log_loss", "calibration_error"} <= set(documented("Hyper-parameters"))
    for variant in ("model-0", "base-0"):
        [plane] = planes(stage.tensorboard / variant)
        assert steps_in(plane) == [1, 2, 3]
