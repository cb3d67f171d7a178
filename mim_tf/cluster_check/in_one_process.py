"""A run as two workers train it, in one process: `python -m mim_tf.cluster_check.in_one_process`.

Each worker of a training reads its own share of the files and draws its own views. Here two devices of one process do,
so that what comes out is what two workers should come to, but for the order in which floats are added.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.training.stages import LEGACY_KERAS_STAGES, run_stage
from mim_tf.workdir import STAGES, StageFolder

WORKERS = 2
_TRAININGS = ("pretrain", "csft", "rank")


def main() -> None:
    """Run all stages, each training in a process of its own that takes the place of the one before.

    The collective operations of two trainings in a process would take each other for their own, and `rank` needs
    another Keras.
    """
    parser = stage_parser("cluster_check.in_one_process", "All stages as two workers train them, in one process.", "")
    arguments = parser.parse_args()
    workdir, options = Path(arguments.workdir), options_of(arguments)
    for stage in STAGES:
        if StageFolder(workdir, stage).finished:
            continue
        if stage in _TRAININGS:
            if "tensorflow" in sys.modules:
                os.execv(sys.executable, [sys.executable, "-m", "mim_tf.cluster_check.in_one_process", *options])
            set_keras_mode(legacy=stage in LEGACY_KERAS_STAGES)
            _train_as_two(stage)
        run_stage(stage, settings_of(arguments), workdir, shlex.join(options), cpu_devices=WORKERS)


def _train_as_two(stage: str) -> None:
    """Let a stage's module train by two workers, instead of under a strategy that a setting can name."""
    module = importlib.import_module(f"mim_tf.training.{stage}")
    module.make_strategy = _two_workers  # type: ignore[attr-defined]
    if stage == "rank":
        plan = module.EpochPlan
        plan.under = lambda strategy, records, options: plan.of(records, options, WORKERS, WORKERS)


def _two_workers(setting: str) -> Any:
    """A strategy whose devices are workers to the input."""
    import tensorflow as tf

    class TwoWorkers(tf.distribute.MirroredStrategy):
        def distribute_datasets_from_function(
            self, dataset_fn: Callable[[tf.distribute.InputContext], tf.data.Dataset], options: Any = None
        ) -> Any:
            def of_both(context: tf.distribute.InputContext) -> tf.data.Dataset:
                shares = [dataset_fn(tf.distribute.InputContext(WORKERS, own, WORKERS)) for own in range(WORKERS)]
                in_turn = tf.data.Dataset.choose_from_datasets(shares, tf.data.Dataset.range(WORKERS).repeat())
                return in_turn.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

            return super().distribute_datasets_from_function(of_both, options)

    return TwoWorkers([device.name for device in tf.config.list_logical_devices("CPU")])


if __name__ == "__main__":
    run_command(main)
