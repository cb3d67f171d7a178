"""Grouped AUC: how well each user's own impressions are ordered."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.auc import auc_per_group
from mim_tf.metrics.checks import binary_labels, check_both_classes, numbered, ordered_scores


class GroupedAUC(NamedTuple):
    """Grouped AUC, and how much of the data it speaks of.

    Attributes:
        auc: the groups' AUCs, averaged by their impressions.
        groups: number of groups with both classes; only they count.
        impressions: number of impressions in those groups.
    """

    auc: float
    groups: int
    impressions: int


def grouped_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, groups: npt.ArrayLike) -> GroupedAUC:
    """Return the AUC within each group (each user, as a rule), averaged by the groups' impressions.

    ```
    GAUC = sum_u n_u AUC_u / sum_u n_u        over the groups with both a click and a non-click
    ```

    Args:
        labels: `[impressions]`, 0 or 1.
        scores: `[impressions]`, any order-preserving numbers, also infinite.
        groups: `[impressions]`, each impression's group: integers, bytes or strings.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, a score is NaN, or no group has both classes.
        TypeError: if the groups are of several kinds, strings and None say.

    Example:
        >>> grouped_auc([0, 1, 1, 0, 1], [0.1, 0.4, 0.2, 0.3, 0.9], ["ann", "ann", "bob", "bob", "eve"])
        GroupedAUC(auc=0.5, groups=2, impressions=4)

    Reference:
        Zhou et al., Deep Interest Network for Click-Through Rate Prediction, equation 6, arXiv:1706.06978.
    """
    clicked = binary_labels(labels)
    check_both_classes(clicked)
    ordered = ordered_scores(scores, clicked)
    _, numbers, sizes = numbered(groups, clicked)
    aucs = auc_per_group(clicked, ordered, numbers)
    counted = ~np.isnan(aucs)
    if not counted.any():
        raise ValueError(f"`groups` must hold one with both a 0 and a 1. Received: {sizes.size} groups, none such.")
    average = np.average(aucs[counted], weights=sizes[counted])
    return GroupedAUC(float(average), int(counted.sum()), int(sizes[counted].sum()))
