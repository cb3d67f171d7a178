"""What TensorBoard shows of a click model's validation impressions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import numpy as np
import tensorflow as tf
from tensorboard.plugins.pr_curve.summary import pb as pr_curve_pb

from mim_tf.figures.calibration import calibration_figure
from mim_tf.figures.figure import pixels_of
from mim_tf.figures.group_gains import group_gains_figure
from mim_tf.metrics import GroupMetrics, age_groups, calibration_curve, gain_by_group
from mim_tf.training.ranking_report import FEWEST, aucs_by_age, aucs_by_category
from mim_tf.training.scoring import Scored

CATEGORIES = 10
"""As many are shown, those with most impressions."""

_MOST = 200_000  # impressions that gains are resampled of, the first ones; the records come shuffled
_RESAMPLES = 300  # for pictures; `mim_tf.evaluate` takes 1,000


def write_impressions(scored: Scored, variant: str) -> None:
    """Write a model's precision and recall, calibration, and AUC by category and by the item's age.

    Written by the default writer, at its step. Groups that cannot be measured are left out.

    Args:
        scored: the validation impressions with the model's predictions.
        variant: `model` or `base`.
    """
    summary = pr_curve_pb("precision_recall", scored.labels == 1, scored.probabilities)
    tf.summary.experimental.write_raw_pb(summary.SerializeToString())
    curve = calibration_curve(scored.labels, scored.probabilities)
    tf.summary.image("calibration", pixels_of(calibration_figure({variant: curve}))[np.newaxis])
    _write_aucs("auc_by_age", scored, aucs_by_age)
    _write_aucs("auc_by_category", scored, aucs_by_category)


def write_gains(model: Scored, base: Scored) -> None:
    """Write what a model has over its base by category and by the item's age, and both models' calibration.

    Args:
        model: the validation impressions with the model's predictions.
        base: the same with the base's, in the same order.
    """
    curves = {
        "model": calibration_curve(model.labels, model.probabilities),
        "base": calibration_curve(base.labels, base.probabilities),
    }
    tf.summary.image("calibration", pixels_of(calibration_figure(curves))[np.newaxis])
    some = np.arange(len(model.labels)) < _MOST
    _draw_gains("gain_by_age", model, base, age_groups(model.ages), some, "by item age, S1 newest")
    large = _is_large(model.categories)
    _draw_gains("gain_by_category", model, base, model.categories, some & large, "by category")


def _write_aucs(tag: str, scored: Scored, groups_of: Callable[[Scored], Mapping[Hashable, GroupMetrics]]) -> None:
    try:
        groups = groups_of(scored)
    except ValueError:  # none of so few impressions can be measured
        return
    for name in sorted(groups, key=lambda name: -groups[name].impressions)[:CATEGORIES]:
        tf.summary.scalar(f"{tag}/{_shown(name)}", groups[name].auc)


def _draw_gains(tag: str, model: Scored, base: Scored, groups: np.ndarray, kept: np.ndarray, title: str) -> None:
    gains = gain_by_group(
        model.labels[kept],
        model.probabilities[kept],
        base.probabilities[kept],
        model.users[kept],
        groups[kept],
        min_impressions=FEWEST,
        resamples=_RESAMPLES,
    )
    if gains:
        figure = group_gains_figure({_shown(name): gain for name, gain in gains.items()}, title=title)
        tf.summary.image(tag, pixels_of(figure)[np.newaxis])


def _is_large(categories: np.ndarray) -> np.ndarray:
    """Which impressions are of the largest categories, `[impressions]` bool."""
    _, numbers, sizes = np.unique(categories, return_inverse=True, return_counts=True)
    return np.isin(numbers, np.argsort(-sizes, kind="stable")[:CATEGORIES])


def _shown(name: Hashable) -> str:
    """A category as it is, an age group with an S before its number."""
    return name.decode(errors="replace") if isinstance(name, bytes) else f"S{name}"
