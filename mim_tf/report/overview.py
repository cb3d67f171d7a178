"""The sections that say what run this is: stages, data, settings, and what the click model is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mim_tf.metrics import (
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    paired_seed_interval,
    ranking_metrics,
    seed_interval,
)
from mim_tf.pages.markup import Html, details, element, paragraph, table
from mim_tf.pages.section import Section
from mim_tf.report.numbers import duration_text, interval_text, number_text
from mim_tf.report.predictions import Predictions
from mim_tf.settings import Settings, dump_settings
from mim_tf.training.ranking_report import COLUMNS
from mim_tf.training.scoring import Scored
from mim_tf.workdir import StageFolder, stages_of

_NAMES = {
    "auc": "AUC",
    "grouped_auc": "AUC within users",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
}
_Row = tuple[Interval, ...]  # of the model; with a base of that, and of the gain


def run_section(settings: Settings, workdir: Path, options: str) -> Section:
    """Stages with the time they took, what `prepare` counted, the settings.

    Args:
        settings: of the run.
        workdir: its folder.
        options: of the command line, for commands that are to be run next.
    """
    stages = [StageFolder(workdir, stage) for stage in stages_of(settings)]
    counted = StageFolder(workdir, "prepare").metrics
    data = [[name.replace("_", " "), number_text(value)] for name, value in counted.items() if name not in _NO_COUNTS]
    tables = (
        table(["stage", "state", "time"], [_stage_row(stage) for stage in stages]),
        table(["data", "number"], data),
    )
    content = [element("div", *tables, class_="beside")]
    missing = [stage for stage in stages if not stage.finished]
    if missing:
        command = element("code", f"python -m mim_tf.train --stage all {options}")
        names = ", ".join(stage.stage for stage in missing)
        content.append(paragraph(f"Not finished: {names}. What needs them is left out here. The rest gives ", command))
    for stage in stages[1:]:
        if stage.finished:
            rows = [[name, number_text(value)] for name, value in stage.metrics.items()]
            content.append(details(f"All metrics of {stage.stage}", table(["metric", "value"], rows)))
    content.append(details("Settings", element("pre", dump_settings(settings), tabindex=0)))
    return Section("run", "The run", content)


_NO_COUNTS = ("seconds", "rows_per_second", "prepared_at")


def _stage_row(stage: StageFolder) -> list[str]:
    if not stage.finished:
        return [stage.stage, "not finished", ""]
    seconds = stage.metrics.get("seconds")
    return [stage.stage, "finished", "not noted" if seconds is None else duration_text(seconds)]


def worth_section(predictions: Predictions) -> Section:
    """The headline metrics of the model, and of the base where there is one, with 95% intervals."""
    first = predictions.impressions
    users = len(set(first.users.tolist()))
    shown = (
        f"{len(first.labels):,} validation impressions of {users:,} users, {first.labels.mean():.1%} of them clicked."
    )
    content = [paragraph(shown)]
    over_users, has_base = _over_users(predictions), bool(predictions.base)
    if len(predictions.model) > 1:
        content.append(element("h3", f"Over {len(predictions.model)} seeds (Student's t)"))
        content.append(_metric_table(_over_seeds(predictions), has_base))
        content.append(element("h3", f"Of the first seed, over users ({_bootstrap(predictions)})"))
        content.append(_metric_table(over_users, has_base))
    else:
        content.append(
            paragraph(f"Intervals of 95% are over users ({_bootstrap(predictions)}), of the one seed there is.")
        )
        content.append(_metric_table(_over_seeds(predictions) | over_users, has_base))
    if not predictions.base:
        content.append(paragraph("The run has no base (", element("code", "rank.base: false"), "), so no gains."))
    return Section("worth", "What the click model is worth", content)


def _bootstrap(predictions: Predictions) -> str:
    return f"bootstrap, {predictions.resamples} resamples"


def _metric_table(rows: dict[str, _Row], has_base: bool) -> Html:
    cells = [
        [_NAMES[name], *(interval_text(*cell) for cell in zip(row, ("", "", "+"), strict=False))]
        for name, row in rows.items()
    ]
    return table(["", "model", *(["base", "gain"] if has_base else [])], cells)


def _over_seeds(predictions: Predictions) -> dict[str, _Row]:
    model, base = (_measured(seeds) for seeds in predictions)
    if not base:
        return {name: (seed_interval(values),) for name, values in model.items()}
    return {
        name: (seed_interval(model[name]), seed_interval(base[name]), paired_seed_interval(model[name], base[name]))
        for name in COLUMNS
    }


def _measured(seeds: Sequence[Scored]) -> dict[str, list[float]]:
    """Each metric of each seed; none without seeds."""
    metrics = [ranking_metrics(scored.labels, scored.probabilities, scored.users) for scored in seeds]
    return {name: [measured[name] for measured in metrics] for name in COLUMNS} if metrics else {}


def _over_users(predictions: Predictions) -> dict[str, _Row]:
    labels, users, resamples = predictions.impressions.labels, predictions.impressions.users, predictions.resamples
    firsts = [seeds[0].probabilities for seeds in predictions if seeds]
    measured = [bootstrap_interval(labels, first, users, resamples=resamples) for first in firsts]
    if predictions.base:
        model, base = firsts
        measured.append(bootstrap_difference(labels, model, base, users, resamples=resamples))
    return {name: tuple(intervals[name] for intervals in measured) for name in ("auc", "log_loss")}
