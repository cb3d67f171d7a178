"""Stage folders: when a stage counts as finished, and what it refuses to mix."""

from pathlib import Path

import pytest
import yaml

from mim_tf.errors import SettingsError, StageError
from mim_tf.settings import Settings, parse_settings
from mim_tf.workdir import STAGES, StageFolder, earlier_stages, fresh_folder_aside, settings_shaping, stages_of


def settings_with(**sections: dict[str, object]) -> Settings:
    return parse_settings({"data": {"items": "items.parquet"}, **sections}, source="test")


def test_a_stage_is_finished_once_its_metrics_are_written(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    with folder.begin(settings_with()):
        assert not folder.finished
        folder.finish({"loss": 0.5})
    assert folder.finished
    assert folder.metrics == {"loss": 0.5}
    assert folder.require(settings_with(), "--config c.yaml") is folder


def test_an_unfinished_stage_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"Run first: python -m mim_tf\.train --stage csft --config c\.yaml --set a=1"):
        StageFolder(tmp_path, "csft").require(settings_with(), "--config c.yaml --set a=1")
    with pytest.raises(StageError, match=r"python -m mim_tf\.prepare --config c\.yaml"):
        StageFolder(tmp_path, "prepare").require(settings_with(), "--config c.yaml --set a=1")


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    with folder.begin(settings_with()):
        folder.checkpoints.mkdir()
    with (
        pytest.raises(
            StageError,
            match=r"csft\.alpha was 0\.5, now 0\.1\. Use another --workdir, or delete .*csft and the stages after it",
        ),
        folder.begin(settings_with(csft={"alpha": 0.1, "epochs": 10})),
    ):
        pass


def test_settings_of_later_stages_do_not_matter(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    with folder.begin(settings_with()):
        folder.finish({})
    assert folder.require(settings_with(rank={"epochs": 7}), "") is folder


@pytest.mark.parametrize("section", ["pretrain", "csft"])
def test_a_run_may_go_on_under_another_strategy(tmp_path: Path, section: str) -> None:
    folder = StageFolder(tmp_path, "csft")
    elsewhere = settings_with(**{section: {"strategy": "mirrored"}})
    with folder.begin(settings_with()):
        folder.checkpoints.mkdir()
    with folder.begin(elsewhere):
        folder.finish({})
    assert yaml.safe_load((folder.path / "settings.yaml").read_text())[section]["strategy"] == "mirrored"
    for settings in (elsewhere, settings_with(), settings_with(**{section: {"strategy": "multi_worker"}})):
        assert folder.require(settings, "") is folder


def test_a_trace_is_no_other_setting(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "rank")
    with folder.begin(settings_with()):
        folder.checkpoints.mkdir()
    traced = {"image_text": {"profile": [0, 5]}}
    folder.check(settings_with(csft={"profile": [0, 5]}, rank={"profile": [0, 5]}, pretrain=traced))
    columns = settings_with(
        data={"items": "items.parquet", "item_features": ["profile"]},
        rank={"features": {"profile": {"kind": "numeric"}}},
    )
    with pytest.raises(StageError, match="rank\\.features\\.profile was None"):  # a column of that name is one
        folder.check(columns.model_copy(update={"data": settings_with().data}))


def test_what_differs_beside_the_strategy_is_refused_alone(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    with folder.begin(settings_with()):
        folder.checkpoints.mkdir()
    with pytest.raises(StageError, match=r"other settings: csft\.alpha was 0\.5, now 0\.1\. Use"):
        folder.check(settings_with(csft={"strategy": "mirrored", "alpha": 0.1}, pretrain={"strategy": "mirrored"}))


def test_two_processes_cannot_work_on_one_stage(tmp_path: Path) -> None:
    with (
        StageFolder(tmp_path, "rank").begin(settings_with()),
        pytest.raises(StageError, match=r"another process works in .*rank"),
        StageFolder(tmp_path, "rank").begin(settings_with()),
    ):
        pass
    with StageFolder(tmp_path, "rank").begin(settings_with()):
        pass  # free again


def test_an_unknown_stage_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`stage` must be one of prepare, pretrain, .*Received: 'ranks'"):
        StageFolder(tmp_path, "ranks")


def test_leftovers_of_a_killed_run_do_not_get_into_the_next(tmp_path: Path) -> None:
    (fresh_folder_aside(tmp_path / "records") / "half").write_text("")
    assert list(fresh_folder_aside(tmp_path / "records").iterdir()) == []


def test_refused_settings_can_be_mended(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    with pytest.raises(SettingsError, match="too large"), folder.begin(settings_with(csft={"batch_size": 999})):
        raise SettingsError("too large")
    with folder.begin(settings_with(csft={"batch_size": 9})):
        pass


def test_settings_that_made_something_are_remembered_after_an_error(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    folder.checkpoints.mkdir(parents=True)
    with pytest.raises(SettingsError, match="late"), folder.begin(settings_with()):
        raise SettingsError("late")
    with pytest.raises(StageError, match=r"csft\.alpha was"):
        folder.check(settings_with(csft={"alpha": 0.1}))


def test_the_earliest_stage_concerned_is_the_one_to_delete(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "rank")
    with folder.begin(settings_with()):
        folder.finish({})
    with pytest.raises(
        StageError, match=r"rank was made with other settings: pretrain\.image_text\.epochs .*delete .*/pretrain and"
    ):
        folder.check(settings_with(pretrain={"image_text": {"epochs": 3}}))


def test_an_earlier_stage_that_ran_again_is_noticed(tmp_path: Path) -> None:
    prepare, pretrain = StageFolder(tmp_path, "prepare"), StageFolder(tmp_path, "pretrain")
    for folder in (prepare, pretrain):
        with folder.begin(settings_with()):
            folder.finish({"seconds": 1.5})
    pretrain.check(settings_with())
    prepare.finish({"seconds": 1.6})
    with pytest.raises(
        StageError, match=r"pretrain was made from an earlier run of prepare\. Delete .*pretrain to run"
    ):
        pretrain.check(settings_with())


EARLIER = {"encoder": "W1/represent/item_encoder"}


def test_with_an_earlier_runs_encoder_none_is_trained() -> None:
    own, earlier = settings_with(), settings_with(represent=EARLIER)
    assert stages_of(own) == STAGES
    assert stages_of(earlier) == ("prepare", "represent", "rank")
    assert earlier_stages("rank", own) == ("prepare", "pretrain", "csft", "represent")
    assert earlier_stages("rank", earlier) == ("prepare", "represent")
    assert earlier_stages("represent", earlier) == ("prepare",)
    assert earlier_stages("csft", earlier) == ("prepare", "pretrain")  # who asks for it gets it
    assert earlier_stages("prepare", earlier) == ()


@pytest.mark.parametrize("stage", ["represent", "rank"])
def test_an_earlier_runs_encoder_makes_its_stages_settings_irrelevant(tmp_path: Path, stage: str) -> None:
    folder = StageFolder(tmp_path, stage)
    with folder.begin(settings_with(represent=EARLIER)):
        folder.finish({})
    other = {"csft": {"alpha": 0.1}, "pretrain": {"image_text": {"epochs": 3}}}
    folder.check(settings_with(represent=EARLIER, **other))
    for represent, now in (({"encoder": "W0"}, "'W0'"), ({}, "None")):
        with pytest.raises(
            StageError,
            match=rf"represent\.encoder was '{EARLIER['encoder']}', now {now}\. .*/represent and the",
        ):
            folder.check(settings_with(represent=represent, **other))


def test_an_own_encoders_run_is_told_of_the_earlier_one(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "rank")
    with folder.begin(settings_with()):
        folder.finish({})
    with pytest.raises(
        StageError, match=r"other settings: represent\.encoder was None, now '.*the stages after it \(rep"
    ):
        folder.check(settings_with(represent=EARLIER, csft={"alpha": 0.1}))


def test_csft_still_has_settings_beside_an_earlier_runs_encoder(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    with folder.begin(settings_with(represent=EARLIER)):
        folder.finish({})
    with pytest.raises(StageError, match=r"csft\.alpha was 0\.5, now 0\.1"):
        folder.check(settings_with(represent=EARLIER, csft={"alpha": 0.1}))


def test_what_an_earlier_runs_encoder_does_without_may_run_again(tmp_path: Path) -> None:
    prepare, csft, represent = (StageFolder(tmp_path, stage) for stage in ("prepare", "csft", "represent"))
    settings = settings_with(represent=EARLIER)
    for folder in (prepare, csft, represent):
        with folder.begin(settings):
            folder.finish({"seconds": 1.5})
    csft.finish({"seconds": 1.6})
    represent.check(settings)
    prepare.finish({"seconds": 1.6})
    with pytest.raises(StageError, match="represent was made from an earlier run of prepare"):
        represent.check(settings)


def test_the_tables_precision_is_the_click_models(tmp_path: Path) -> None:
    represent, rank = StageFolder(tmp_path, "represent"), StageFolder(tmp_path, "rank")
    for folder in (represent, rank):
        with folder.begin(settings_with()):
            folder.finish({})
    other = settings_with(represent={"rows": "int8"})
    represent.check(other)  # the store is the same
    with pytest.raises(
        StageError,
        match=r"represent\.rows was 'float16', now 'int8'\. .*delete .*/rank and the stages after it \(rank\)",
    ):
        rank.check(other)
    with pytest.raises(StageError, match=r"represent\.store was None, now 's3://shop/store'"):
        represent.check(settings_with(represent={"store": "s3://shop/store"}))


def test_what_shapes_a_stage() -> None:
    settings = parse_settings(
        {
            "data": {"items": "i", "impressions": "l", "validation_from": 5},
            "csft": {"alpha": 0.25, "strategy": "mirrored"},
            "represent": {"rows": "int8", "centre": False},
            "rank": {"ubm": "din", "ubm_options": {"units": [8]}},
            "seed": 3,
        },
        "test",
    )
    data = {"items": "i", "impressions": "l", "validation_from": 5}
    assert settings_shaping("prepare", settings) == {"data": data, "seed": 3}
    assert settings_shaping("csft", settings) == {"data": data, "seed": 3, "csft": {"alpha": 0.25}}
    assert settings_shaping("represent", settings) == settings_shaping("csft", settings) | {
        "represent": {"centre": False}
    }
    watched = settings.model_copy(update={"rank": settings.rank.model_copy(update={"profile": (1, 2)})})
    assert settings_shaping("rank", watched) == settings_shaping("rank", settings)
    placed = settings_with(csft={"strategy": "mirrored"}, pretrain={"masked_language": {"profile": (1, 2)}})
    assert settings_shaping("csft", placed) == settings_shaping("csft", settings_with(pretrain={"masked_language": {}}))
    of_rank = settings_shaping("rank", settings)
    assert of_rank["represent"] == {"rows": "int8", "centre": False}
    assert of_rank["rank"] == {"ubm": "din", "ubm_options": {"units": [8]}}


def test_what_was_no_setting_then_had_todays_default(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "rank")
    with folder.begin(settings_with()):
        folder.finish({})
    file = folder.path / "settings.yaml"
    tree = yaml.safe_load(file.read_text())
    del tree["rank"]["base"], tree["experiment"]
    file.write_text(yaml.safe_dump(tree))
    folder.check(settings_with())
    with pytest.raises(StageError, match=r"rank\.base was True, now False"):
        folder.check(settings_with(rank={"base": False}))
