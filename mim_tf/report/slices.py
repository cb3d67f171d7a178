"""The section of slices in which the model loses against its base."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mim_tf.metrics.equal_mass import equal_mass_groups
from mim_tf.pages.markup import Html, paragraph
from mim_tf.pages.section import Section
from mim_tf.report.gains import Groups, group_table
from mim_tf.report.predictions import ComparedGroup, Predictions, compared_groups, kind_of_interval

_QUANTILES = 5  # groups of equally many impressions
_WORST = 12  # are shown
_BELOW_BY_CHANCE = 0.025  # of the 95% intervals where nothing is lost or won


def groups_by_number(predictions: Predictions, numbers: np.ndarray) -> Groups:
    """The gain in five groups of equally many impressions, by a number that each has.

    Args:
        predictions: with a base.
        numbers: `[impressions]` integers.

    Returns:
        The groups by the range of their numbers.
    """
    groups = equal_mass_groups(numbers, _QUANTILES)
    compared = compared_groups(predictions, groups)
    return {_range(numbers[groups == number]): group for number, group in compared.items()}


def _range(numbers: np.ndarray) -> str:
    least, most = int(numbers.min()), int(numbers.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def slices_section(predictions: Predictions, cuts: Mapping[str, Groups]) -> Section:
    """The slices with the lowest gains, the lowest first.

    Args:
        predictions: with a base, or without one.
        cuts: the slices, by what the impressions were cut by.
    """
    title = "Where MIM loses"
    if not predictions.base:
        note = "The run has no base (rank.base: false), so it is not known where the model would be the worse one."
        return Section("slices", title, [paragraph(note)])
    slices = {f"{cut}: {name}": group for cut, groups in cuts.items() for name, group in groups.items()}
    if not slices:
        return Section("slices", title, [paragraph("No slice has enough impressions and clicks to be measured.")])
    worst = dict(sorted(slices.items(), key=lambda one: one[1].gain.estimate)[:_WORST])
    return Section("slices", title, [*_verdict(slices, predictions), group_table("slice", worst)])


def _verdict(slices: Mapping[str, ComparedGroup], predictions: Predictions) -> list[Html]:
    gains = [group.gain for group in slices.values()]
    lost, behind = sum(gain.upper < 0 for gain in gains), sum(gain.estimate < 0 for gain in gains)
    if lost:
        said = f"MIM loses in {lost} of {len(slices)} slices, marked below: their intervals lie below 0."
    elif behind:
        said = f"MIM loses in none of {len(slices)} slices: in {behind} its AUC is lower, but the intervals hold 0."
    else:
        said = f"MIM loses in none of {len(slices)} slices: its AUC is higher in all of them."
    chance = (
        f"Of as many intervals some {_BELOW_BY_CHANCE * len(slices):.1f} lie below 0 by chance where nothing is lost "
        f"or won. {kind_of_interval(predictions)}. The {min(_WORST, len(slices))} slices with the lowest gains:"
    )
    return [paragraph(said), paragraph(chance)]
