"""AUC by group of impressions: by category, by the item's age, by anything that labels them."""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.auc import auc_per_group
from mim_tf.metrics.checks import binary_labels, check_both_classes, numbered, ordered_scores


class GroupMetrics(NamedTuple):
    """What is measured of one group.

    Attributes:
        auc: AUC within the group.
        impressions: number of its impressions.
        click_rate: the share of them that was clicked.
    """

    auc: float
    impressions: int
    click_rate: float


def metrics_by_group(
    labels: npt.ArrayLike, scores: npt.ArrayLike, groups: npt.ArrayLike, *, min_impressions: int = 100
) -> dict[Hashable, GroupMetrics]:
    """Return the metrics of each group that can be measured.

    Groups with a single class, where an AUC has no meaning, and those below `min_impressions`, where it is mostly
    chance, are left out. For item ages, `groups` is what `age_groups` returns.

    Args:
        labels: `[impressions]`, 0 or 1.
        scores: `[impressions]`, any order-preserving numbers, also infinite.
        groups: `[impressions]`, each impression's group, its category say: integers, bytes or strings.
        min_impressions: number of impressions a group must have.

    Returns:
        The groups by name, the names as Python's own int, bytes or str, sorted.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, a score is NaN, or no group can be measured.
        TypeError: if the groups are of several kinds, strings and None say.

    Example:
        >>> clicks, scores, categories = [0, 1, 1, 0, 1], [0.1, 0.4, 0.2, 0.3, 0.9], ["hat", "hat", "tie", "tie", "bag"]
        >>> metrics_by_group(clicks, scores, categories, min_impressions=2)["hat"]
        GroupMetrics(auc=1.0, impressions=2, click_rate=0.5)

    Reference:
        The paper's Table 7 (categories) and Figure 6 (age groups).
    """
    clicked = binary_labels(labels)
    check_both_classes(clicked)
    ordered = ordered_scores(scores, clicked)
    names, numbers, sizes = numbered(groups, clicked)
    aucs = auc_per_group(clicked, ordered, numbers)
    click_rates = np.bincount(numbers, weights=clicked) / sizes
    columns = zip(names.tolist(), aucs.tolist(), sizes.tolist(), click_rates.tolist(), strict=True)
    measured = ~np.isnan(aucs) & (sizes >= min_impressions)
    if not measured.any():
        raise ValueError(
            f"`groups` must hold one with both a 0 and a 1 and at least {min_impressions} impressions "
            f"(`min_impressions`). Received: {sizes.size} groups of up to {sizes.max()} impressions, none such."
        )
    return {name: GroupMetrics(*row) for keep, (name, *row) in zip(measured, columns, strict=True) if keep}
