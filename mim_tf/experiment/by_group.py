"""Tables 2 and 7 and Figure 6: what MIM gains, by category and by the item's age."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress

from mim_tf.experiment import paper
from mim_tf.experiment.data_statistics import ALL, MOST_CATEGORIES
from mim_tf.experiment.measured import Outcome, Values, corrected, gain_of, mean_of, reasons, seeds_note
from mim_tf.experiment.sheet import Number, Sheet, Value, empty_sheet
from mim_tf.metrics import GroupMetrics
from mim_tf.training.ranking_report import FEWEST, aucs_by_age, aucs_by_category
from mim_tf.training.scoring import Scored

Groups = Mapping[Hashable, GroupMetrics]
_COLUMNS = ("impressions", "Base", "Base+MIM", "Δ")


def table2(models: Mapping[str, tuple[Outcome, Outcome]]) -> Sheet:
    """Base and Base+MIM of each user behaviour model, in all and by category.

    Args:
        models: by the model's name, its base and with MIM.
    """
    grouped = {name: tuple(_by_seed(outcome, aucs_by_category) for outcome in pair) for name, pair in models.items()}
    sizes = next((groups for pair in grouped.values() for of in pair for groups in of.values()), {})
    categories = sorted(sizes, key=lambda name: -sizes[name].impressions)[:MOST_CATEGORIES]
    shown = {ALL: None, **{_name(category): category for category in categories}}
    values = {
        (name, column): [_values(outcome, of, group) for outcome, of in zip(models[name], pair, strict=True)]
        for name, pair in grouped.items()
        for column, group in shown.items()
    }
    gains = dict(zip(values, corrected([gain_of(mim, base) for base, mim in values.values()]), strict=True))
    rows: list[tuple[str, Mapping[str, Value]]] = []
    for name in models:
        for place, version in enumerate(("Base", "Base+MIM")):
            rows.append((f"{name}, {version}", {column: mean_of(values[name, column][place]) for column in shown}))
        rows.append((f"{name}, Δ", {column: gains[name, column] for column in shown}))
    named = [mim._replace(name=name) for name, (_, mim) in models.items()]
    notes = [*seeds_note(named, "Base"), *reasons(named)]
    if len(shown) == 2:
        notes.append("There is one category only, so its column says what ALL says.")
    return Sheet("table2", "Table 2: six user behaviour models", tuple(shown), rows, tuple(notes), paper.UBMS)


def table7(mim: Outcome, base: Outcome) -> Sheet:
    """What MIM gains in each category, largest gains first."""
    title = "Table 7: gains by category"
    of_mim, of_base = _by_seed(mim, aucs_by_category), _by_seed(base, aucs_by_category)
    categories = next(iter(of_mim.values()), {})
    if mim.missing and not categories:
        return empty_sheet("table7", title, mim.missing, paper.CATEGORIES)
    if len(categories) < 2:
        why = f"there are no two categories with both clicks and others and {FEWEST} impressions"
        return empty_sheet("table7", title, why, paper.CATEGORIES)
    everything, *rows = _rows((mim, base), (of_mim, of_base), [None, *categories], _name)
    rows.sort(key=lambda row: -_estimate(row[1]["Δ"]))
    notes = (*_notes(mim), "Click and revenue gains are of online tests, which a log cannot give.")
    return Sheet("table7", title, _COLUMNS, [everything, *rows], notes, paper.CATEGORIES)


def figure6(mim: Outcome, base: Outcome) -> Sheet:
    """What MIM gains in ten groups of the items' age."""
    title = "Figure 6: gains by the item's age, S1 the newest"
    of_mim, of_base = _by_seed(mim, aucs_by_age), _by_seed(base, aucs_by_age)
    groups = list(next(iter(of_mim.values()), {}))
    if not groups:
        nothing = f"no group has both clicks and others and {FEWEST} impressions"
        return empty_sheet("figure6", title, mim.missing or nothing)
    rows = _rows((mim, base), (of_mim, of_base), groups, lambda number: f"S{number}")
    notes = (*_notes(mim), "Groups have equally many impressions. In the paper the newest items gain most.")
    return Sheet("figure6", title, _COLUMNS, rows, notes)


def _rows(
    outcomes: tuple[Outcome, Outcome],
    grouped: tuple[Mapping[int, Groups], Mapping[int, Groups]],
    groups: Sequence[Hashable],
    name_of: Callable[[Hashable], str],
) -> list[tuple[str, dict[str, Value]]]:
    """A row for each group; None is the group of all. Their gains are the tests of one table."""
    pairs = [[_values(outcome, of, group) for outcome, of in zip(outcomes, grouped, strict=True)] for group in groups]
    gains = corrected([gain_of(mim, base) for mim, base in pairs])
    sizes = next(iter(grouped[0].values()))
    rows: list[tuple[str, dict[str, Value]]] = []
    for group, (mim, base), gain in zip(groups, pairs, gains, strict=True):
        size = len(next(iter(outcomes[0].scored.values())).labels) if group is None else sizes[group].impressions
        values = (size, mean_of(base), mean_of(mim), gain)
        rows.append((ALL if group is None else name_of(group), dict(zip(_COLUMNS, values, strict=True))))
    return rows


def _values(outcome: Outcome, grouped: Mapping[int, Groups], group: Hashable) -> Values:
    """By seed, the AUC in a group, or in all."""
    if group is None:
        return outcome.aucs
    return {seed: groups[group].auc for seed, groups in grouped.items() if group in groups}


def _by_seed(outcome: Outcome, groups_of: Callable[[Scored], Groups]) -> dict[int, Groups]:
    """By seed, the groups that can be measured."""
    found: dict[int, Groups] = {}
    for seed, scored in outcome.scored.items():
        with suppress(ValueError):  # no group can
            found[seed] = groups_of(scored)
    return found


def _notes(mim: Outcome) -> list[str]:
    return [*seeds_note([mim], "Base"), *reasons([mim])]


def _name(category: Hashable) -> str:
    return category.decode(errors="replace") if isinstance(category, bytes) else str(category)


def _estimate(value: Value) -> float:
    return value.interval.estimate if isinstance(value, Number) else float("-inf")
