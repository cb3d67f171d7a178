"""`python -m mim_tf.evaluate`: what a trained ranker is worth, with and without content."""

from __future__ import annotations

import shlex
from pathlib import Path

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.workdir import StageFolder

_EPILOG = """\
Loads the models of the finished rank stage - those the settings describe and, as base, the same without the content
and fusion modules, of all seeds - scores the validation impressions anew and prints

  auc                that a clicked impression is scored above another one, over all impressions
  grouped_auc        the same within each user's impressions, weighted by their number
  log_loss           cross-entropy per impression, natural logarithm
  calibration_error  how far predicted and observed click rates are apart, over 20 bins of as many impressions

and of the two models' AUC the relative improvement, (auc - 0.5) / (base auc - 0.5) - 1, which says little where
base is near 0.5. All this as means over the seeds with 95% confidence intervals, and of the first seed with intervals
over users (bootstrap); then the AUC by category and by ten groups of the items' age, means over the seeds.

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
    from mim_tf.training.rank import evaluate

    print(evaluate(settings, workdir))


if __name__ == "__main__":
    run_command(main)
