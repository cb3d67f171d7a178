"""`python -m mim_tf.cluster_check`: trainings of several machines, as processes of this one."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from mim_tf.cluster_check.toy_run import ToyRun
from mim_tf.cluster_check.trial import Trial, table
from mim_tf.cluster_check.trials import (
    lose_a_worker,
    lose_the_server,
    lose_workers_of_servers,
    train_alone,
    train_in_step,
    train_with_servers,
)
from mim_tf.commandline import command_parser, run_command

Result = TypeVar("Result")
_STAGES = ("pretrain", "csft", "rank")
_EPILOG = """\
Draws a small shop and trains it in one process. Then two workers train each stage in step, with a `TF_CONFIG` each;
the same again, and one of them is killed and started again, as schedulers do; and the click model with parameter
servers, likewise. Prints a line for each: where something does not hold, the exit code is 1 and says what. What each
process prints is in DIR/logs.

example:
  python -m mim_tf.cluster_check --workdir build/cluster
"""


def main() -> None:
    """Run the command."""
    parser = command_parser("cluster_check", "Training on many machines, tried with processes on one.", _EPILOG)
    parser.add_argument(
        "--workdir", default="build/cluster", metavar="DIR", help="empty, or an earlier check's (%(default)s)"
    )
    parser.add_argument("--stage", choices=_STAGES, help="this one alone")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are ended on the way out
    stages = (arguments.stage,) if arguments.stage else _STAGES
    run = ToyRun(Path(arguments.workdir))
    _timed("all stages in one process", partial(train_alone, run))
    trials: list[Trial] = []
    try:
        for name, trial in _trials(run, stages):
            trials.append(_timed(name, trial))
    finally:  # what was found before something failed, too
        print(f"\n{table(trials)}")
    if any(trial.problem for trial in trials):
        sys.exit(1)


def _trials(run: ToyRun, stages: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], Trial]]]:
    for stage in stages:
        yield f"{stage}: two workers in step", partial(train_in_step, run, stage)
        yield f"{stage}: a worker lost", partial(lose_a_worker, run, stage)
    if "rank" in stages:
        yield "rank: parameter servers", partial(train_with_servers, run)
        yield "rank: parameter servers, workers lost", partial(lose_workers_of_servers, run)
        yield "rank: parameter servers, one of them lost", partial(lose_the_server, run)


def _timed(name: str, work: Callable[[], Result]) -> Result:
    """Do something, and say what it is and how long it took."""
    print(f"{name} ...", end=" ", flush=True)
    start = time.monotonic()
    result = work()
    print(f"{time.monotonic() - start:.0f} s", flush=True)
    return result


if __name__ == "__main__":
    run_command(main)
