"""`python -m mim_tf.tensorboard`: TensorBoard on one run or several."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mim_tf.commandline import command_parser, run_command
from mim_tf.errors import StageError
from mim_tf.workdir import STAGES, StageFolder

_EPILOG = """\
Of several workdirs each is a folder of runs of its name: settings and what came out are the rows of one table under
HPARAMS. Runs that begin while it is open appear, too. The profiler's tab, of a plugin that is installed on its own
(pip install mim_tf[profile]), shows traces where one workdir is open.
What the tags mean: mim_tf/training/TENSORBOARD.md. Options not named here are TensorBoard's own, as --port is.

example:
  python -m mim_tf.tensorboard --workdir build/demo --workdir build/other --port 6007
"""


def main() -> None:
    """Run the command."""
    parser = command_parser("tensorboard", "Open TensorBoard on the trainings of one or more runs.", _EPILOG)
    parser.add_argument(
        "--workdir",
        dest="workdirs",
        action="append",
        required=True,
        metavar="DIR",
        help="folder of a run; may be repeated",
    )
    arguments, options = parser.parse_known_args()
    workdirs = [Path(workdir) for workdir in arguments.workdirs]
    for workdir in workdirs:
        _check(workdir)
    if len(workdirs) == 1:
        _serve(str(workdirs[0]), options)
    with tempfile.TemporaryDirectory(prefix="mim_tf_tensorboard_") as folder:
        link_runs(workdirs, Path(folder))
        _serve(folder, options)


def link_runs(workdirs: Sequence[Path], folder: Path) -> None:
    """Make a folder of links to workdirs, since TensorBoard opens one folder.

    Args:
        workdirs: of the runs. Those of the same name are told apart by a number.
        folder: empty.
    """
    for workdir in workdirs:
        target = workdir.resolve()
        names = (target.name, *(f"{target.name}-{number}" for number in range(2, len(workdirs) + 1)))
        link = next(folder / name for name in names if not (folder / name).exists())
        link.symlink_to(target, target_is_directory=True)


def _check(workdir: Path) -> None:
    """Refuse what is not the folder of a run with something to see.

    Raises:
        StageError: there is no event file in it.
    """
    folders = [StageFolder(workdir, stage).tensorboard for stage in STAGES[1:]]
    if not any(next(folder.rglob("*.tfevents.*"), None) for folder in folders):
        raise StageError(
            f"`--workdir` must be the folder of a run that has trained something. Received: {workdir}, without any "
            f"event file. Run first: python -m mim_tf.train --stage all --config ... --workdir {workdir}"
        )


def _serve(folder: str, options: list[str]) -> NoReturn:
    from tensorboard import default, program

    board = program.TensorBoard(plugins=default.get_plugins())
    board.configure(argv=["tensorboard", "--logdir", folder, *options])
    raise SystemExit(board.main())


if __name__ == "__main__":
    run_command(main)
