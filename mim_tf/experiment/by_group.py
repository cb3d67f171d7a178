"""Tables 2 and 7 and Figure 6: what MIM gains, by category and by the item's age."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mim_tf.experiment import paper
from mim_tf.experiment.comparisons import Outcome, reasons
from mim_tf.experiment.data_statistics import ALL, MOST_CATEGORIES
from mim_tf.experiment.measured import Metric, Seeds, auc_of, corrected, gain_of, mean_of
from mim_tf.experiment.sheet import Number, Sheet, Value, empty_sheet
from mim_tf.metrics import age_groups, auc
from mim_tf.training.scoring import Scored

AGE_GROUPS = 10
FEWEST = 50
"""Impressions; an AUC of fewer is mostly chance."""

_SEEDS = (
    "Means over seeds, each a whole chain of stages, with 95% intervals (Student's t); Δ over pairs of the same seed, "
    "* marks p < 0.05 of the paired t-test after Holm."
)


def largest_categories(scored: Scored, most: int = MOST_CATEGORIES) -> list[bytes]:
    """The categories with most impressions of those that can be measured."""
    names, counts = np.unique(scored.categories.astype(bytes), return_counts=True)
    order = [names[number] for number in np.argsort(-counts, kind="stable")]
    return [name for name in order if _within(scored, scored.categories == name) is not None][:most]


def table2(models: Mapping[str, tuple[Outcome, Outcome]]) -> Sheet:
    """Base and Base+MIM of each user behaviour model, in all and by category.

    Args:
        models: by the model's name, its base and with MIM.
    """
    shown = [outcome.scored[seed] for pair in models.values() for outcome in pair for seed in outcome.scored]
    groups: dict[str, Metric] = {ALL: auc_of}
    if shown:
        groups |= {_name(category): _of_category(category) for category in largest_categories(shown[0])}
    gains = _gains([(group, name) for name in models for group in groups], models, groups)
    rows: list[tuple[str, Mapping[str, Value]]] = []
    for name, (base, mim) in models.items():
        rows.append((f"{name}, Base", {group: mean_of(base.scored, metric) for group, metric in groups.items()}))
        rows.append((f"{name}, Base+MIM", {group: mean_of(mim.scored, metric) for group, metric in groups.items()}))
        rows.append((f"{name}, Δ", {group: gains[group, name] for group in groups}))
    notes = [_SEEDS, *reasons(mim._replace(name=name) for name, (_, mim) in models.items())]
    if len(groups) == 2:
        notes.append("There is one category only, so its column says what ALL says.")
    return Sheet("table2", "Table 2: six user behaviour models", tuple(groups), rows, tuple(notes), paper.UBMS)


def _gains(
    keys: Sequence[tuple[str, str]], models: Mapping[str, tuple[Outcome, Outcome]], groups: Mapping[str, Metric]
) -> dict[tuple[str, str], Number | None]:
    """By group and model; all of them are the tests of one table."""
    found = [gain_of(models[name][1].scored, models[name][0].scored, groups[group]) for group, name in keys]
    return dict(zip(keys, corrected(found), strict=True))


def table7(mim: Outcome, base: Outcome) -> Sheet:
    """What MIM gains in each category, largest gains first."""
    title = "Table 7: gains by category"
    if not mim.scored:
        return empty_sheet("table7", title, mim.missing, paper.CATEGORIES)
    first = mim.scored[min(mim.scored)]
    categories = largest_categories(first, most=len(first.labels))
    if len(categories) < 2:
        why = f"there are no two categories with both clicks and others and {FEWEST} impressions"
        return empty_sheet("table7", title, why, paper.CATEGORIES)
    rows = _grouped(mim, base, {_name(category): _of_category(category) for category in categories})
    rows.sort(key=lambda row: -_estimate(row[1]["Δ"]))
    everything = (ALL, _row(mim.scored, base.scored, auc_of, gain_of(mim.scored, base.scored), len(first.labels)))
    notes = (_SEEDS, "Click and revenue gains are of online tests, which a log cannot give.")
    return Sheet("table7", title, _COLUMNS, [everything, *rows], notes, paper.CATEGORIES)


def figure6(mim: Outcome, base: Outcome) -> Sheet:
    """What MIM gains in ten groups of the items' age."""
    title = "Figure 6: gains by the item's age, S1 the newest"
    if not mim.scored:
        return empty_sheet("figure6", title, mim.missing)
    groups = {f"S{number}": _of_age(number) for number in range(1, AGE_GROUPS + 1)}
    rows = [row for row in _grouped(mim, base, groups) if row[1]["Δ"] is not None]
    if not rows:
        return empty_sheet("figure6", title, f"no group has both clicks and others and {FEWEST} impressions")
    notes = (_SEEDS, "Groups have equally many impressions. In the paper the newest items gain most.")
    return Sheet("figure6", title, _COLUMNS, rows, notes)


_COLUMNS = ("impressions", "Base", "Base+MIM", "Δ")


def _grouped(mim: Outcome, base: Outcome, groups: Mapping[str, Metric]) -> list[tuple[str, dict[str, Value]]]:
    gains = corrected([gain_of(mim.scored, base.scored, metric) for metric in groups.values()])
    first = mim.scored[min(mim.scored)]
    return [
        (name, _row(mim.scored, base.scored, metric, gain, _size(first, metric)))
        for (name, metric), gain in zip(groups.items(), gains, strict=True)
    ]


def _row(mim: Seeds, base: Seeds, metric: Metric, gain: Number | None, impressions: int) -> dict[str, Value]:
    values = (impressions, mean_of(base, metric), mean_of(mim, metric), gain)
    return dict(zip(_COLUMNS, values, strict=True))


class _Within:
    """AUC within a group of impressions; None where there are too few, or one class."""

    def __init__(self, chosen: Callable[[Scored], np.ndarray]):
        self.chosen = chosen

    def __call__(self, scored: Scored) -> float | None:
        return _within(scored, self.chosen(scored))


def _of_category(category: bytes) -> Metric:
    return _Within(lambda scored: scored.categories == category)


def _of_age(number: int) -> Metric:
    return _Within(lambda scored: age_groups(scored.ages, AGE_GROUPS) == number)


def _size(scored: Scored, metric: Metric) -> int:
    return int(metric.chosen(scored).sum()) if isinstance(metric, _Within) else len(scored.labels)


def _within(scored: Scored, chosen: np.ndarray) -> float | None:
    labels = scored.labels[chosen]
    if len(labels) < FEWEST or labels.min() == labels.max():
        return None
    return auc(labels, scored.probabilities[chosen])


def _name(category: bytes) -> str:
    return category.decode(errors="replace")


def _estimate(value: Value) -> float:
    return value.interval.estimate if isinstance(value, Number) else float("-inf")
