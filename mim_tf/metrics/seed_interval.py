"""Confidence intervals over seeds: what training again would give."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from mim_tf.metrics.interval import Interval, check_confidence


def seed_interval(values: Sequence[float] | npt.NDArray, *, confidence: float = 0.95) -> Interval:
    """Return the mean of a metric over seeds, with the two-sided Student-t interval of the mean.

    ```
    mean ± t_{(1 + confidence) / 2, n - 1} s / sqrt(n)        s^2 = sum_i (x_i - mean)^2 / (n - 1)
    ```

    It is about the chance in training (initial weights, order of the batches), on fixed impressions; what other
    impressions would give, `bootstrap_interval` says.

    Args:
        values: `[seeds]`, the metric of each seed's model.
        confidence: the share of such intervals that hold the true mean.

    Returns:
        The mean and the interval's ends. A single seed has no interval: its ends are NaN, so that no comparison with
        them holds. JSON knows no NaN: leave them out there.

    Raises:
        ValueError: if there are no values, they are not one-dimensional, one is not finite, or `confidence` is not
            between 0 and 1.

    Example:
        >>> [round(end, 4) for end in seed_interval([0.71, 0.72, 0.73])]  # 0.72 ± 4.3027 * 0.01 / sqrt(3)
        [0.72, 0.6952, 0.7448]
    """
    check_confidence(confidence)
    array = _per_seed(values, "values")
    mean = float(array.mean())
    if array.size == 1:
        return Interval(mean, np.nan, np.nan)
    quantile = stdtrit(array.size - 1, (1 + confidence) / 2)
    half = float(quantile * array.std(ddof=1) / np.sqrt(array.size))
    return Interval(mean, mean - half, mean + half)


def paired_seed_interval(
    values: Sequence[float] | npt.NDArray, base_values: Sequence[float] | npt.NDArray, *, confidence: float = 0.95
) -> Interval:
    """Return the mean difference of two models' metric over seeds, with the Student-t interval of paired differences.

    Pairs take out what a seed does to both models alike. Where seeds share nothing but their number, it is still
    right, with half the degrees of freedom that unpaired samples would have.

    Args:
        values: `[seeds]`, the metric of each seed's model.
        base_values: `[seeds]`, of each seed's base model, in the same order of seeds.
        confidence: as in `seed_interval`.

    Returns:
        `values - base_values`: the mean, and the interval's ends as in `seed_interval`.

    Raises:
        ValueError: as `seed_interval`, or if the lengths differ.

    Example:
        >>> [round(end, 4) for end in paired_seed_interval([0.71, 0.73, 0.75], [0.70, 0.71, 0.72])]
        [0.02, -0.0048, 0.0448]
    """
    array, base = _per_seed(values, "values"), _per_seed(base_values, "base_values")
    if array.shape != base.shape:
        raise ValueError(
            f"`values` and `base_values` must be of the same seeds. Received: {array.size} and {base.size} values."
        )
    return seed_interval(array - base, confidence=confidence)


def _per_seed(values: Sequence[float] | npt.NDArray, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"`{name}` must be one-dimensional and not empty. Received: shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite: leave failed seeds out. Received: {array.tolist()}.")
    return array
