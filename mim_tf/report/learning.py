"""The section of learning curves: all trainings of all stages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mim_tf.figures.learning_curves import Curve, learning_curves_figure
from mim_tf.pages.figure_image import figure_image
from mim_tf.pages.markup import Html, element, paragraph
from mim_tf.pages.section import Section
from mim_tf.report.event_files import read_scalars
from mim_tf.settings import Settings
from mim_tf.training.rankers import variants_of
from mim_tf.workdir import StageFolder

# What is drawn of stages 1 and 2, panel by panel, and the tags of a panel's curves.
_PANELS = {
    "losses": r"(held_out_)?(\w+_)?loss",
    "accuracy in training": r"(?!held_out_)(\w+_)?accuracy",
    "mean reciprocal rank, held out": r"held_out_(\w+_)?mrr",
    "recall, held out": r"held_out_recall_at_\d+|held_out_\w+_recall_at_1",
}
# Likewise of the click model. What Keras notes as its loss is that of an epoch's last batch, which tells nothing.
_OF_RANK = {
    "validation AUC": "epoch_auc",
    "validation AUC within users": "epoch_grouped_auc",
    "validation log loss": "epoch_log_loss",
}
_Panels = dict[str, dict[str, list[Curve]]]


def learning_section(settings: Settings, workdir: Path) -> Section:
    """Learning curves out of the event files of whatever has been trained so far."""
    content: list[Html] = []
    pretrain, csft, rank = (StageFolder(workdir, stage).tensorboard for stage in ("pretrain", "csft", "rank"))
    for objective in settings.pretrain.model_dump(exclude={"strategy"}, exclude_none=True):  # in the order of training
        content += _figure(f"pretrain, {objective}", _panels(read_scalars(pretrain / objective)), "step")
    content += _figure("csft", _panels(read_scalars(csft)), "step")
    content += _figure("rank", _rank_panels(settings, rank), "epoch")
    if not content:
        content = [paragraph(f"No event files lie in {workdir}: nothing was trained there yet.")]
    else:
        content.insert(0, paragraph("As the event files have them, not smoothed. With several seeds, a line for each."))
    return Section("learning", "Learning curves", content)


def _figure(name: str, panels: _Panels, x_label: str) -> list[Html]:
    if not panels:
        return []
    figure = learning_curves_figure(panels, x_label=x_label)
    alt = f"Learning curves of {name}: " + "; ".join(_described(title, curves) for title, curves in panels.items())
    return [element("h3", name), figure_image(figure, alt)]


def _described(title: str, curves: Mapping[str, Sequence[Curve]]) -> str:
    ends = (f"{name} from {first.values[0]:.4g} to {first.values[-1]:.4g}" for name, (first, *_) in curves.items())
    return f"{title}, {', '.join(ends)}"


def _panels(scalars: Mapping[str, Curve]) -> _Panels:
    """The scalars that belong into each panel; panels without any are left out."""
    panels: _Panels = {}
    for title, pattern in _PANELS.items():
        curves = {tag: [curve] for tag, curve in scalars.items() if re.fullmatch(pattern, tag) and curve.steps}
        if curves:
            panels[title] = curves
    return panels


def _rank_panels(settings: Settings, tensorboard: Path) -> _Panels:
    """A line per model and seed."""
    trainings = {
        (variant, seed): read_scalars(tensorboard / f"{variant}-{seed}" / "validation")
        for variant in variants_of(settings)
        for seed in range(settings.rank.seeds)
    }
    panels: _Panels = {}
    for title, tag in _OF_RANK.items():
        for (variant, _), scalars in trainings.items():
            if tag in scalars and scalars[tag].steps:
                panels.setdefault(title, {}).setdefault(variant, []).append(scalars[tag])
    return panels
