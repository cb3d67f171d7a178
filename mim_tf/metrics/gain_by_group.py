"""What a model has over its base by group of impressions, and how sure that is."""

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.bootstrap import bootstrap_difference
from mim_tf.metrics.checks import binary_labels, numbered, probabilities_of
from mim_tf.metrics.interval import Interval


def gain_by_group(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    base_probabilities: npt.ArrayLike,
    users: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    min_impressions: int = 100,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[Hashable, Interval]:
    """Return the model's AUC minus the base model's in each group, with 95% intervals from resampling its users.

    Each group is measured by `bootstrap_difference` on its own impressions. Groups that it cannot measure are left out:
    of a single class or user, or of so few clicks that many resamples have none; so are those below `min_impressions`.

    Args:
        labels: `[impressions]`, 0 or 1.
        probabilities: `[impressions]`, the model's, of a click, in [0, 1].
        base_probabilities: `[impressions]`, the base model's, in the same order.
        users: `[impressions]`, user ids: integers, bytes or strings.
        groups: `[impressions]`, each impression's group, likewise; `age_groups` gives those of Figure 6.
        min_impressions: number of impressions a group must have.
        resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Returns:
        The groups by name, the names as Python's own int, bytes or str, sorted; perhaps none.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, a probability is NaN or outside [0, 1], or
            `resamples` is less than 1.
        TypeError: if users or groups are of several kinds, strings and None say.

    Example:
        >>> labels, ages = [0, 1] * 40, [1] * 40 + [2] * 40
        >>> right, level = [0.2, 0.8] * 40, [0.5] * 80
        >>> gain_by_group(labels, right, level, np.arange(80) // 2, ages, min_impressions=40)[2]
        Interval(estimate=0.5, lower=0.5, upper=0.5)

    Reference:
        The paper's Table 7 (categories) and Figure 6 (age groups).
    """
    clicked = binary_labels(labels)
    model = probabilities_of(probabilities, clicked)
    base = probabilities_of(base_probabilities, clicked, "base_probabilities")
    names, numbers, sizes = numbered(groups, clicked)
    users_of = numbered(users, clicked, "users").numbers
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1. Received: {resamples}.")
    gains: dict[Hashable, Interval] = {}
    for number, name in enumerate(names.tolist()):
        if sizes[number] < min_impressions:
            continue
        rows = np.flatnonzero(numbers == number)
        try:
            measured = bootstrap_difference(
                clicked[rows], model[rows], base[rows], users_of[rows], resamples=resamples, seed=seed
            )
        except ValueError:  # all arguments were checked: the group is what cannot be measured
            continue
        gains[name] = measured["auc"]
    return gains
