"""`python -m mim_tf.evaluate`: what a trained ranker is worth, with and without content."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.workdir import StageFolder

_EPILOG = """\
Loads both models of the finished rank stage - the one the settings describe and the same without the content and
fusion modules - scores the validation impressions anew and prints

  auc          that a clicked impression is scored above another one, over all impressions
  grouped_auc  the same within each user's impressions, weighted by their number
  log_loss     cross-entropy per impression, natural logarithm

example:
  python -m mim_tf.evaluate --config configs/demo.yaml --workdir build/demo
"""


def main() -> None:
    """Run the command."""
    arguments = stage_parser(
        "evaluate", "Measure the trained rankers on the validation impressions.", _EPILOG
    ).parse_args()
    settings, workdir = settings_of(arguments), Path(arguments.workdir)
    StageFolder(workdir, "rank").require(settings, shlex.join(options_of(arguments)))
    set_keras_mode(legacy=True)
    from mim_tf.training.rank import COMPARED, VARIANTS, load_ranker
    from mim_tf.training.scoring import score_validation

    rows = {name: score_validation(load_ranker(settings, workdir, name), settings, workdir) for name in VARIANTS}
    print(comparison_table(rows, COMPARED))


def comparison_table(rows: dict[str, dict[str, float]], columns: Sequence[str]) -> str:
    """A text table of two models' metrics and what the first has over the second."""
    first, second = rows.values()
    lines = [["", *columns]]
    lines += [[name, *(f"{row[column]:.4f}" for column in columns)] for name, row in rows.items()]
    lines += [["difference", *(f"{first[column] - second[column]:+.4f}" for column in columns)]]
    return "\n".join(f"{line[0]:<16}" + "".join(f"{cell:>13}" for cell in line[1:]) for line in lines)


if __name__ == "__main__":
    run_command(main)
