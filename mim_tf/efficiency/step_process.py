"""`python -m mim_tf.efficiency.step_process`: measure a step of one click model in a process of its own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mim_tf.commandline import run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.efficiency.step_cost import INFERENCE, TRAINING

_EPILOG = """\
Prints a line of JSON: what a step costs. The paper's table 6 is made of several such processes, so that none finds the
memory of another.
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("efficiency.step_process", "Measure what a step of a click model costs.", _EPILOG)
    parser.add_argument("--variant", choices=("model", "base"), required=True, help="as set, or without content")
    parser.add_argument("--mode", choices=(TRAINING, INFERENCE), required=True, help="a step of what")
    parser.add_argument("--steps", type=_positive, required=True, help="to be timed")
    arguments = parser.parse_args()
    set_keras_mode(legacy=True)
    from mim_tf.efficiency.measured_step import measured_step

    settings, workdir = settings_of(arguments), Path(arguments.workdir)
    cost = measured_step(settings, workdir, arguments.variant, arguments.mode, arguments.steps)
    print(json.dumps(cost._asdict()))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`--steps` must be a positive number. Received: {text}.")
    return int(text)


if __name__ == "__main__":
    run_command(main)
