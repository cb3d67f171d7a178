"""A stage of two workers in one process: `python -m mim_tf.cluster_check.in_one_process`.

Each worker of a training reads its own share of the files and draws its own views. Here two devices of one process do,
so that what comes out is what two workers should come to, but for the order in which floats are added.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.training.stages import run_stage

WORKERS = 2


def main() -> None:
    """Run the command."""
    parser = stage_parser("cluster_check.in_one_process", "Stage 1 or 2 as two workers train it, in one process.", "")
    parser.add_argument("--stage", required=True, choices=("pretrain", "csft"))
    arguments = parser.parse_args()
    set_keras_mode(legacy=False)
    module = importlib.import_module(f"mim_tf.training.{arguments.stage}")
    module.make_strategy = _two_workers  # type: ignore[attr-defined]  # instead of one that a setting can name
    settings, options = settings_of(arguments), shlex.join(options_of(arguments))
    run_stage(arguments.stage, settings, Path(arguments.workdir), options, cpu_devices=WORKERS)


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
