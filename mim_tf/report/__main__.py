"""`python -m mim_tf.report`: one page on one run."""

from __future__ import annotations

import shlex
from pathlib import Path

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.workdir import write_aside

_EPILOG = """\
Reads what the stages of a run have left and writes one HTML file that loads nothing else: stages and settings, metrics
with 95% intervals, learning curves, nearest neighbours by image, title and both, what query photos find, users'
histories with their content weights and ranked candidates, gains by item age and category, calibration, and the slices
in which the model loses against its base. Of a run that is not finished the page has what there is.

example:
  python -m mim_tf.report --config configs/demo.yaml --workdir build/demo
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("report", "Write a page on what one run has learned.", _EPILOG)
    parser.add_argument("--to", metavar="FILE", help="the page; default: report.html in the workdir")
    arguments = parser.parse_args()
    settings, workdir = settings_of(arguments), Path(arguments.workdir)
    set_keras_mode(legacy=False)  # the item encoder's
    from mim_tf.report.report import report

    path = Path(arguments.to) if arguments.to else workdir / "report.html"
    text = report(settings, workdir, shlex.join(options_of(arguments)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, text)
    print(f"{path}: {len(text.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_command(main)
