"""`python -m mim_tf.serve_check`: one run's models, asked in every way there is, against the training model."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.settings import Settings
from mim_tf.workdir import StageFolder

_EPILOG = """\
Exports what the run has trained, whole and in shards, with the encoders, and asks every signature of every model for
single rows and for a thousand, with empty histories, unknown items, titles in other scripts and odd images: TensorFlow
in a fresh process, TensorFlow's C API, the stand-in server over gRPC and REST, and tensorflow_model_server, where one
is on the PATH or named by TENSORFLOW_MODEL_SERVER. Each answer is compared with the training model's. Prints the
greatest differences; where one is more than 1e-5, or a way does not answer, the exit code is 1.

example:
  python -m mim_tf.serve_check --config build/demo/rank/settings.yaml --workdir build/demo
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("serve_check", "The same numbers, whichever way a model is asked.", _EPILOG)
    parser.add_argument("--rows", type=int, default=1000, help="of the large requests (%(default)s)")
    arguments = parser.parse_args()
    settings = settings_of(arguments)
    StageFolder(arguments.workdir, "rank").require(settings, shlex.join(options_of(arguments)))
    set_keras_mode(legacy=True)
    with tempfile.TemporaryDirectory(prefix="serve-check-") as folder:
        if not _check(settings, Path(arguments.workdir), Path(folder), arguments.rows):
            sys.exit(1)


def _check(settings: Settings, workdir: Path, folder: Path, rows: int) -> bool:
    from mim_tf.serve_check.comparison import compared
    from mim_tf.serve_check.export_all import export_all
    from mim_tf.serve_check.ways import all_ways

    models = export_all(settings, workdir, folder, rows)
    with all_ways(folder) as (ways, skipped):
        report = compared(models, ways)
    print("\n".join([report.table(), *(f"skipped: {reason}" for reason in skipped), *report.problems]))
    return not report.problems


if __name__ == "__main__":
    run_command(main)
