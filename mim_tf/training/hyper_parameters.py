"""TensorBoard's table of hyper-parameters: a row per training, whatever workdir it is in."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api, api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb

from mim_tf.settings import Settings
from mim_tf.workdir import StageFolder, sections_of

# Of all that a stage measures, what runs are compared by.
_METRICS = {
    "pretrain": r".*_held_out_(loss|mrr|\w+_mrr)",
    "csft": r"held_out_.*",
    "represent": r"cosine_error_.*|items_per_second",
    "rank": r"auc|grouped_auc|log_loss|calibration_error",
}


def write_hyper_parameters(
    stage: StageFolder, settings: Settings, metrics: Mapping[str, float], training: str = "", **more: str | int
) -> None:
    """Write the row of a finished stage, or of one of its trainings: what it was made with, and what came out.

    The row is a run of its own, `hparams`, so its metrics are those written here and no others. Settings are named as
    `--set` names them; they are all that shape the stage, those of earlier stages too. Runs of several workdirs that
    are opened together share one table.

    Args:
        stage: where it goes, under its TensorBoard folder.
        settings: of the run.
        metrics: what was measured, of which those that runs are compared by are shown; `seconds` tell when it began.
        training: name of one of the stage's trainings; empty for the stage.
        **more: what else the training was made with.
    """
    folder = stage.tensorboard / training / "hparams"
    values = dict(_flat({name: settings.model_dump(mode="json")[name] for name in sections_of(stage.stage)}))
    trial = "/".join([str(stage.path.resolve()), *([training] if training else [])])
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        api.hparams(
            {"stage": stage.stage, **values, **more},
            trial_id=trial,
            start_time_secs=time.time() - metrics.get("seconds", 0.0),
        )
        for name, value in metrics.items():
            if re.fullmatch(_METRICS[stage.stage], name):
                tf.summary.scalar(name, value)
        tf.summary.experimental.write_raw_pb(session_end_pb(api_pb2.STATUS_SUCCESS).SerializeToString())
    writer.close()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | float | str]]:
    """The leaves of a tree of settings, by their paths."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}.")
        elif isinstance(value, bool | int | float | str):
            yield path, value
        elif not value:  # null, and lists and mappings without anything
            yield path, "none"
        else:
            yield path, ", ".join(map(str, value))
