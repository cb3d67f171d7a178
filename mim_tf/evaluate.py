"""`python -m mim_tf.evaluate`: what a trained ranker is worth, with and without content."""

from __future__ import annotations

from pathlib import Path

from mim_tf.commandline import run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.workdir import StageFolder

_EPILOG = """\
Loads both models of the finished rank stage - the one the settings describe and the same without the content and
fusion modules - scores the validation impressions anew and prints

  AUC          that a clicked impression is scored above another one, over all impressions
  grouped AUC  the same within each user's impressions, weighted by their number
  log loss     cross-entropy per impression, natural logarithm

example:
  python -m mim_tf.evaluate --config configs/demo.yaml --workdir build/demo
"""


def main() -> None:
    """Run the command."""
    arguments = stage_parser("Measure the trained rankers on the validation impressions.", _EPILOG).parse_args()
    settings, workdir = settings_of(arguments), Path(arguments.workdir)
    StageFolder(workdir, "rank").require(settings, arguments.config)
    set_keras_mode(legacy=True)
    from mim_tf.training.rank import VARIANTS, load_ranker
    from mim_tf.training.scoring import score_validation

    rows = {
        variant: score_validation(load_ranker(settings, workdir, variant), settings, workdir) for variant in VARIANTS
    }
    print(comparison_table(rows))


def comparison_table(rows: dict[str, dict[str, float]]) -> str:
    """A text table of models and their metrics, with the gain of the first over the second."""
    names = ("auc", "grouped_auc", "log_loss")
    head, base = rows.values()
    lines = [["", "AUC", "grouped AUC", "log loss"]]
    lines += [[name.replace("_", " "), *(f"{row[key]:.4f}" for key in names)] for name, row in rows.items()]
    lines += [["difference", *(f"{head[key] - base[key]:+.4f}" for key in names)]]
    return "\n".join(f"{line[0]:<18}" + "".join(f"{cell:>14}" for cell in line[1:]) for line in lines)


if __name__ == "__main__":
    run_command(main)
