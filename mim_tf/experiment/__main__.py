"""`python -m mim_tf.experiment`: the paper's tables and figures, on the data of a run."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mim_tf.commandline import options_of, run_command, settings_of, stage_parser
from mim_tf.errors import SettingsError
from mim_tf.workdir import exclusive, write_aside

if TYPE_CHECKING:
    from mim_tf.experiment.experiment import Experiment
    from mim_tf.experiment.sheet import Sheet

_EPILOG = """\
Computes what the paper's tables and figures compare, on the data that the settings name, and writes into the workdir

  report.html        what was asked for, with the paper's own figures beside ours; one file, for any browser
  tables/            each as CSV (full precision), Markdown, and where it is drawn PNG and SVG
  mim                a link to the workdir of MIM's first seed, to export it or to look at it: mim_tf.report
  stages/, logs/     the stages of all chains, each a workdir for the other commands, and what they said

  table 1  the data                          table 6   operations and memory of a sample
        2  six user behaviour models               7   gains by category
        3  steps of pre-training             figure 5  foundation models (experiment.vision, experiment.text)
        4  signal and loss of C-SFT                6   gains by the item's age
        5  ablations

Each version is computed with `experiment.seeds` seeds, each a whole chain of stages; a stage that several chains have
in common is computed once. Running the command again continues, and does not repeat what is finished. What cannot be
computed says why, and the rest is there.

example:
  python -m mim_tf.experiment --config configs/paper.yaml --workdir build/paper --table 2 --table 5 --budget 60
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("experiment", "The paper's tables and figures, on your data.", _EPILOG)
    parser.add_argument(
        "--table", type=int, action="append", choices=range(1, 8), metavar="1..7", help="may be repeated"
    )
    parser.add_argument("--figure", type=int, action="append", choices=(5, 6), metavar="5|6", help="likewise")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="as many seeds as fit into this time")
    parser.add_argument("--lanes", type=int, default=1, metavar="N", help="stages computed side by side (%(default)s)")
    arguments = parser.parse_args()
    for name, value in (("budget", arguments.budget), ("lanes", arguments.lanes)):
        if value is not None and value <= 0:
            raise SettingsError(f"--{name} must be above 0. Received: {value}.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    workdir = Path(arguments.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with exclusive(workdir):
        _run(arguments, workdir)


def _run(arguments: argparse.Namespace, workdir: Path) -> None:
    """Compute what is asked for, all if nothing is named, and write it down."""
    from mim_tf.experiment.experiment import Experiment
    from mim_tf.experiment.page import sheet_section
    from mim_tf.experiment.sheets import SHEETS
    from mim_tf.experiment.versions import mim
    from mim_tf.pages.page import page

    begun = time.monotonic()
    settings = settings_of(arguments)
    budget = None if arguments.budget is None else 60 * arguments.budget
    experiment = Experiment(settings, workdir, lanes=arguments.lanes, budget=budget, say=_say)
    names = _names(arguments.table, arguments.figure) or list(SHEETS)
    experiment.compute([version for name in names for version in SHEETS[name].versions(settings)])
    experiment.link(mim(settings), workdir / "mim")
    sheets = [_sheet(name, experiment, workdir / "tables") for name in names]
    minutes = (time.monotonic() - begun) / 60
    about = f"{' '.join(options_of(arguments))}; {minutes:.0f} minutes beside what was finished before"
    if arguments.budget:
        about += f", of a budget of {arguments.budget:g}"
    text = page("The paper's tables and figures", about, [sheet_section(sheet) for sheet in sheets])
    write_aside(workdir / "report.html", text)
    print(f"\nThe report is {workdir / 'report.html'}.")


def _sheet(name: str, experiment: Experiment, folder: Path) -> Sheet:
    """Make a table and write it down. One that fails says so, and spares the others."""
    from mim_tf.experiment.sheet import empty_sheet
    from mim_tf.experiment.sheets import SHEETS
    from mim_tf.experiment.write_sheet import write_sheet

    try:
        sheet = SHEETS[name].make(experiment)
    except Exception as error:
        traceback.print_exc()
        sheet = empty_sheet(name, name, f"{type(error).__name__}: {error}")
    write_sheet(sheet, folder)
    print(f"\n{sheet.markdown()}", end="", flush=True)
    return sheet


def _names(tables: Sequence[int] | None, figures: Sequence[int] | None) -> list[str]:
    return [*(f"table{number}" for number in tables or ()), *(f"figure{number}" for number in figures or ())]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
