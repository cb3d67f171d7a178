"""The table of hyper-parameters as TensorBoard's own plugin makes it of event files."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

from mim_tf.settings import Settings
from mim_tf.training.hyper_parameters import write_hyper_parameters
from mim_tf.workdir import StageFolder

# Of what TensorBoard's plugin imports, as it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")


def settings_of(**rank: Any) -> Settings:
    return Settings.model_validate({"data": {"items": "items.parquet"}, "rank": rank})


def rows_of(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, float]]]:
    """By the name of the trial: hyper-parameters, and metrics."""
    from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    context = TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder)), logdir=str(folder))
    apps = HParamsPlugin(context).get_plugin_apps()
    experiment = Client(apps["/experiment"]).post(json={"experimentName": ""}).json
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"hparam": one["name"]} for one in experiment["hparamInfos"]]
        + [{"metric": one["name"]} for one in experiment["metricInfos"]],
        "startIndex": 0,
        "sliceSize": 100,
    }
    groups = Client(apps["/session_groups"]).post(json=request).json["sessionGroups"]
    return {
        group["name"]: (
            group["hparams"],
            {one["name"]["tag"]: one["value"] for one in group["metricValues"]},
        )
        for group in groups
    }


def test_workdirs_opened_together_are_rows_of_one_table(tmp_path: Path) -> None:
    for name, ubm, auc in (("A", "din", 0.625), ("B", "sim", 0.75)):
        stage = StageFolder(tmp_path / name, "rank")
        metrics = {"auc": auc, "log_loss": 0.5, "grouped_auc_users": 7.0, "seconds": 60.0}
        write_hyper_parameters(stage, settings_of(ubm=ubm), metrics, "model-0", variant="model", training_seed=4)
    rows = rows_of(tmp_path)
    assert sorted(rows) == [f"{tmp_path}/{name}/rank/model-0" for name in "AB"]
    settings, metrics = rows[f"{tmp_path}/B/rank/model-0"]
    assert metrics == {"auc": 0.75, "log_loss": 0.5}  # what runs are compared by, and no others
    assert settings["stage"] == "rank"
    assert (settings["variant"], settings["training_seed"]) == ("model", 4)
    assert (settings["rank.ubm"], settings["rank.content"], settings["rank.dropout"]) == ("sim", True, 0.2)
    assert settings["rank.tower_units"] == "128, 64"
    assert (settings["rank.patience"], settings["rank.features"]) == ("none", "none")
    assert settings["csft.st_nsg.queue_batches"] == 10  # what shaped its table
    assert rows[f"{tmp_path}/A/rank/model-0"][0]["rank.ubm"] == "din"


@pytest.mark.parametrize(
    ("stage", "measured", "shown"),
    [
        (
            "pretrain",
            {"image_text_held_out_image_to_text_mrr": 0.5, "image_text_loss": 1.0, "masked_image_held_out_loss": 2.0},
            {"image_text_held_out_image_to_text_mrr", "masked_image_held_out_loss"},
        ),
        ("csft", {"held_out_mrr": 0.5, "start_mrr": 0.25, "loss": 1.0}, {"held_out_mrr"}),
        (
            "represent",
            {"items_per_second": 8.0, "cosine_error_int8": 0.5, "dim": 4.0},
            {"items_per_second", "cosine_error_int8"},
        ),
    ],
)
def test_each_stage_is_a_row_of_what_shaped_it(
    tmp_path: Path, stage: str, measured: dict[str, float], shown: set[str]
) -> None:
    write_hyper_parameters(StageFolder(tmp_path / "W", stage), settings_of(), measured)
    [(settings, metrics)] = rows_of(tmp_path).values()
    assert metrics == {name: measured[name] for name in shown}
    assert f"{stage}.batch_size" in settings or stage == "pretrain"
    assert not [name for name in settings if name.startswith("rank.")]  # which comes later


def test_a_training_that_is_shown_again_is_the_same_row(tmp_path: Path) -> None:
    stage = StageFolder(tmp_path / "W", "csft")
    for mrr in (0.25, 0.5):
        write_hyper_parameters(stage, settings_of(), {"held_out_mrr": mrr})
    assert len(rows_of(tmp_path)) == 1
