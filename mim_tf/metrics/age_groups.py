"""Impressions in groups by the age of their item, for metrics of new and of old items."""

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.checks import Integers
from mim_tf.metrics.equal_mass import equal_mass_groups


def age_groups(ages: npt.ArrayLike, groups: int = 10) -> Integers:
    """Return each impression's age group: 1 (S1) the newest items, `groups` (S10) the oldest.

    The groups have equally many impressions, as far as equal ages allow: these are never split. All impressions of one
    age go into the group in which the middle one of them lies in the order of age, so the order of the rows does not
    matter. An age with more impressions than a group makes its group larger and may leave neighbours empty; the numbers
    are kept, so that S10 is old however many groups there are.

    Args:
        ages: `[impressions]` integers or floats, how old the item was at the request, in any unit. Below 0 and infinite
            ones are ordered like all others.
        groups: number of groups, at least 1.

    Returns:
        `[impressions]`, from 1 to `groups`.

    Raises:
        ValueError: if there are no ages, they are not one-dimensional, one is NaN, or `groups` is less than 1.
        TypeError: if the ages are not numbers.

    Example:
        >>> age_groups([30, 1, 400, 2], groups=2).tolist()
        [2, 1, 2, 1]
        >>> age_groups([0, 0, 0, 9], groups=4).tolist()  # three new arrivals: the middle one is in the second group
        [2, 2, 2, 4]

    Reference:
        The paper's Figure 6: S1 is the newest group, S10 the oldest.
    """
    array = np.asarray(ages)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"`ages` must be one-dimensional and not empty. Received: shape {array.shape}.")
    if array.dtype.kind not in "iuf":
        raise TypeError(f"`ages` must be numbers, in seconds or days for one. Received: dtype {array.dtype}.")
    nans = int(np.isnan(array).sum())
    if nans:
        raise ValueError(f"`ages` must not be NaN. Received: {nans} NaN of {array.size}.")
    if groups < 1:
        raise ValueError(f"`groups` must be at least 1. Received: {groups}.")
    return equal_mass_groups(array, groups) + 1
