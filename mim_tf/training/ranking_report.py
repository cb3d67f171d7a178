"""Text tables of what the click model is worth beside its base: in all, by category, by the item's age."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from mim_tf.metrics import (
    GroupMetrics,
    Interval,
    age_groups,
    bootstrap_difference,
    bootstrap_interval,
    metrics_by_group,
    paired_seed_interval,
    ranking_metrics,
    relative_improvement,
    seed_interval,
)
from mim_tf.training.scoring import Scored

COLUMNS = ("auc", "grouped_auc", "log_loss", "calibration_error")
_CATEGORIES = 10  # the largest ones are shown
_AGE_GROUPS = 10  # S1 to S10, of the paper's Figure 6
FEWEST = 50
"""Impressions of a group; an AUC of fewer is mostly chance."""
_NAMES, _CELL = 34, 20


def ranking_report(model: Sequence[Scored], base: Sequence[Scored]) -> str:
    """All tables.

    Args:
        model: the predictions of each seed's model, of the same impressions in the same order.
        base: of each seed's base model; empty without one.

    Raises:
        ValueError: the impressions cannot be measured.
    """
    tables = [_overall(model, base), _by_group("category", model, base, aucs_by_category, _CATEGORIES)]
    tables.append(_by_group("item age, S1 newest", model, base, aucs_by_age, _AGE_GROUPS))
    return "\n\n".join(tables)


def _overall(model: Sequence[Scored], base: Sequence[Scored]) -> str:
    """Means over seeds with their 95% intervals, and of the first seed those over users."""
    of_model, of_base = _per_seed(model), _per_seed(base)
    seeds = len(model)
    lines = [_line(f"mean of {seeds} seeds" if seeds > 1 else "one seed", COLUMNS)]
    lines.append(_line("model", [_cell(seed_interval(of_model[name])) for name in COLUMNS]))
    if not base:
        return "\n".join([*lines, "", *_over_users(model[0], None)])
    lines.append(_line("base", [_cell(seed_interval(of_base[name])) for name in COLUMNS]))
    gains = {name: paired_seed_interval(of_model[name], of_base[name]) for name in COLUMNS}
    lines.append(_line("gain", [_cell(gain, "+") for gain in gains.values()]))
    if (base_auc := seed_interval(of_base["auc"]).estimate) > 0.5:
        improvement = relative_improvement(seed_interval(of_model["auc"]).estimate, base_auc)
        lines.append(_line("relative improvement", [f"{improvement:+.1%}"]))
    return "\n".join([*lines, "", *_over_users(model[0], base[0])])


def _over_users(model: Scored, base: Scored | None) -> list[str]:
    names = ("auc", "log_loss")
    own = bootstrap_interval(model.labels, model.probabilities, model.users)
    lines = [_line("first seed, 95% over users", names), _line("model", [_cell(own[name]) for name in names])]
    if base is None:
        return lines
    others = bootstrap_interval(base.labels, base.probabilities, base.users)
    gains = bootstrap_difference(model.labels, model.probabilities, base.probabilities, model.users)
    return [
        *lines,
        _line("base", [_cell(others[name]) for name in names]),
        _line("gain", [_cell(gains[name], "+") for name in names]),
    ]


def _by_group(
    title: str,
    model: Sequence[Scored],
    base: Sequence[Scored],
    groups_of: Callable[[Scored], Mapping[Hashable, GroupMetrics]],
    most: int,
) -> str:
    """The AUC in each group, as a mean over seeds; the groups with most impressions."""
    try:
        of_model, of_base = [groups_of(scored) for scored in model], [groups_of(scored) for scored in base]
    except ValueError as error:  # all impressions together can be measured, but no group of so few
        return f"{title}: {error}"
    sizes = {name: metrics.impressions for name, metrics in of_model[0].items()}
    largest = set(sorted(sizes, key=lambda name: -sizes[name])[:most])
    lines = [_line(title, ["impressions", "click rate", "auc", *(["auc base", "gain"] if base else [])])]
    for name in (name for name in sizes if name in largest):
        auc = float(np.mean([groups[name].auc for groups in of_model]))
        cells = [f"{sizes[name]:,}", f"{of_model[0][name].click_rate:.3f}", f"{auc:.4f}"]
        if base:
            base_auc = float(np.mean([groups[name].auc for groups in of_base]))
            cells += [f"{base_auc:.4f}", f"{auc - base_auc:+.4f}"]
        lines.append(_line(name.decode(errors="replace") if isinstance(name, bytes) else f"S{name}", cells))
    return "\n".join(lines)


def aucs_by_category(scored: Scored) -> Mapping[Hashable, GroupMetrics]:
    """The AUC in each category that can be measured.

    Raises:
        ValueError: there is none.
    """
    return metrics_by_group(scored.labels, scored.probabilities, scored.categories, min_impressions=FEWEST)


def aucs_by_age(scored: Scored) -> Mapping[Hashable, GroupMetrics]:
    """The AUC in each of ten groups of the items' age that can be measured, 1 the newest.

    Raises:
        ValueError: there is none.
    """
    groups = age_groups(scored.ages, _AGE_GROUPS)
    return metrics_by_group(scored.labels, scored.probabilities, groups, min_impressions=FEWEST)


def _per_seed(models: Sequence[Scored]) -> dict[str, list[float]]:
    metrics = [ranking_metrics(scored.labels, scored.probabilities, scored.users) for scored in models]
    return {name: [measured[name] for measured in metrics] for name in COLUMNS}


def _cell(interval: Interval, sign: str = "") -> str:
    """`0.6612 ±0.0021`, half the width of the interval; without an interval the number alone."""
    number = f"{interval.estimate:{sign}.4f}"
    return number if np.isnan(interval.lower) else f"{number} ±{(interval.upper - interval.lower) / 2:.4f}"


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{_NAMES}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
