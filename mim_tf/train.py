"""`python -m mim_tf.train`: one stage of a run, or all of them."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from mim_tf.commandline import options_of, run_command, settings_of, stage_parser
from mim_tf.errors import SettingsError
from mim_tf.training.stages import LEGACY_KERAS_STAGES, check_early, run_stage, strategy_of
from mim_tf.workdir import STAGES, stages_of

_EPILOG = """\
stages, each reading what the one before it left in the workdir:
  pretrain    align the image and the text encoder on the shop's items
  csft        fine-tune them on <query image, purchased item, hard negative>
  represent   compute every item's embedding into the store
  rank        train the click model, with and without content
  all         prepare and the four above, one after the other; the last two with an earlier run's represent.encoder

A finished stage says so and does nothing; an interrupted one continues.
Watch the training: python -m mim_tf.tensorboard --workdir DIR

example:
  python -m mim_tf.train --stage csft --config configs/demo.yaml --workdir build/mine --set csft.epochs=3
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("train", "Train one stage of a run, or all of them.", _EPILOG)
    parser.add_argument("--stage", required=True, choices=[*STAGES[1:], "all"], help="what to run, see below")
    parser.add_argument(
        "--cpu-devices",
        type=int,
        default=1,
        metavar="N",
        help="split the CPU into N devices, for `strategy: mirrored` on a machine without GPUs; no effect otherwise",
    )
    arguments = parser.parse_args()
    if arguments.cpu_devices < 1:
        raise SettingsError(f"--cpu-devices must be at least 1. Received: {arguments.cpu_devices}.")
    settings = settings_of(arguments)
    stages = stages_of(settings) if arguments.stage == "all" else (arguments.stage,)
    strategies = {strategy_of(stage, settings) for stage in stages}
    if len(stages) > 1 and (several := strategies & {"multi_worker", "parameter_server"}):
        raise SettingsError(f"--stage all runs in one place: with strategy {min(several)} run the stages one by one.")
    if len(stages) > 1:
        check_early(settings)
    for stage in stages:
        if stage in LEGACY_KERAS_STAGES and len(stages) > 1:
            _continue_as(stage, options_of(arguments))
        run_stage(stage, settings, Path(arguments.workdir), shlex.join(options_of(arguments)), arguments.cpu_devices)


def _continue_as(stage: str, options: list[str]) -> None:
    """Replace this process by one that runs `stage` in its own Keras mode.

    Replacing rather than starting a child keeps one process to watch and to stop: killed at any moment, nothing
    of the run stays behind.
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "mim_tf.train", "--stage", stage, *options])


if __name__ == "__main__":
    run_command(main)
