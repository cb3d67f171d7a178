"""Groups of equal mass: as many impressions in each as ties allow."""

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.checks import Integers


def equal_mass_groups(values: npt.NDArray, groups: int) -> Integers:
    """Return each value's group, the smallest values in group 0.

    ```
    group(v) = floor(groups (below(v) + equal(v) / 2) / n)
    ```

    with below(v) and equal(v) the number of values less than v and equal to it. Equal values so lie in one group, that
    of the middle of their run, whatever the order of the rows. Without ties the sizes differ by at most one. Where a
    run is longer than a group, its group is larger and neighbours may stay empty: a group's number says where among
    all values it lies, not how many groups there are below. In integers, so that no rounding moves a value.

    Args:
        values: `[n]`, not NaN.
        groups: at least 1.

    Returns:
        `[n]`, from 0 to `groups - 1`.
    """
    _, runs, equal = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(equal) - equal
    return (groups * (2 * below + equal) // (2 * values.size))[runs]
