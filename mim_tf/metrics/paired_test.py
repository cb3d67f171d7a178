"""Whether a difference is more than chance: Student's paired test, and what becomes of it where there are many."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr


def paired_p_value(values: Sequence[float] | npt.NDArray, base_values: Sequence[float] | npt.NDArray) -> float:
    """Return the two-sided p-value of the paired t-test, of `paired_seed_interval`'s difference being zero.

    ```
    t = mean(d) sqrt(n) / s(d)        p = 2 P(T_{n-1} <= -|t|)        d = values - base_values
    ```

    Args:
        values: `[seeds]`, the metric of each seed's model.
        base_values: `[seeds]`, of each seed's base model, in the same order of seeds.

    Returns:
        The p-value. NaN for a single seed, and for differences that are all the same number: they have no spread to be
        judged by. 1 where all are zero.

    Raises:
        ValueError: if the lengths differ, or there are no values.

    Example:
        >>> round(paired_p_value([0.71, 0.73, 0.75], [0.70, 0.71, 0.72]), 4)  # t = 0.02 sqrt(3) / 0.01 = 3.4641
        0.0742
    """
    differences = np.asarray(values, np.float64) - np.asarray(base_values, np.float64)
    if len(values) != len(base_values) or not differences.size:
        raise ValueError(
            f"`values` and `base_values` must be of the same seeds, one at least. Received: {len(values)} and "
            f"{len(base_values)} values."
        )
    if differences.size == 1:
        return float("nan")
    mean, spread = differences.mean(), differences.std(ddof=1)
    if spread == 0:
        return 1.0 if mean == 0 else float("nan")
    return float(2 * stdtr(differences.size - 1, -abs(mean) * np.sqrt(differences.size) / spread))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, after Holm: the chance of one false alarm among all stays below each.

    ```
    p'_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))        p_(1) <= ... <= p_(m)
    ```

    Args:
        p_values: of the tests; NaN ones are no tests, and stay.

    Example:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
    """
    array = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(~np.isnan(array))
    order = tested[np.argsort(array[tested], kind="stable")]
    corrected = array.copy()
    corrected[order] = np.maximum.accumulate(np.minimum(1, array[order] * np.arange(order.size, 0, -1)))
    return corrected.tolist()
