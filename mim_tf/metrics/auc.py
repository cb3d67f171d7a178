"""AUC, exactly: by ranks, not by thresholds."""

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.checks import Bools, Floats, binary_labels, check_both_classes, ordered_scores


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the probability that a clicked impression scores above one that was not, a tie counting half.

    ```
    AUC = (sum of the positives' ranks - P (P + 1) / 2) / (P N)        ties share the mean of their ranks
    ```

    Args:
        labels: `[impressions]`, 0 or 1.
        scores: `[impressions]`, any order-preserving numbers: probabilities or logits, also infinite.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, all are the same, or a score is NaN.

    Example:
        >>> auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])  # of four pairs three in order, one tied
        0.875
    """
    clicked = binary_labels(labels)
    check_both_classes(clicked)
    one_group = np.zeros(clicked.size, np.int64)
    return float(auc_per_group(clicked, ordered_scores(scores, clicked), one_group)[0])


def auc_per_group(clicked: Bools, scores: Floats, groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the AUC within each group, NaN where a group has a single class.

    Args:
        clicked: `[impressions]`.
        scores: `[impressions]`.
        groups: `[impressions]`, each impression's group as a number from 0 to G - 1, each of which occurs.

    Returns:
        `[G]`.
    """
    order = np.lexsort((scores, groups))
    clicked, scores, groups = clicked[order], scores[order], groups[order]
    sizes = np.bincount(groups)
    first_of_group = np.cumsum(sizes) - sizes
    # Runs of equal scores within a group; each member's rank is the middle of its run, counted from 1.
    starts = np.flatnonzero(np.r_[True, (np.diff(groups) != 0) | (scores[1:] != scores[:-1])])
    lengths = np.diff(np.r_[starts, scores.size])
    ranks = np.repeat(starts + (lengths + 1) / 2, lengths) - first_of_group[groups]
    positives = np.bincount(groups, weights=clicked)
    pairs = positives * (sizes - positives)
    wins = np.bincount(groups, weights=ranks * clicked) - positives * (positives + 1) / 2
    return np.divide(wins, pairs, out=np.full(sizes.shape, np.nan), where=pairs > 0)
