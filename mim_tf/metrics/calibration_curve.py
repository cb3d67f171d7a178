"""Calibration, bin by bin: what was predicted, and what was clicked."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.checks import binary_labels, probabilities_of
from mim_tf.metrics.equal_mass import equal_mass_groups

_Z = 1.959964  # of a 95% interval


class CalibrationCurve(NamedTuple):
    """Bins of impressions, from the lowest predictions to the highest.

    Attributes:
        predicted: `[bins]`, mean probability.
        observed: `[bins]`, click rate.
        lower: `[bins]`, lower end of the click rate's 95% interval.
        upper: `[bins]`, its upper end.
        impressions: `[bins]`, how many there are.
    """

    predicted: npt.NDArray[np.float64]
    observed: npt.NDArray[np.float64]
    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]
    impressions: npt.NDArray[np.int64]


def calibration_curve(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = 20) -> CalibrationCurve:
    """Return mean prediction and click rate of bins of equally many impressions.

    The bins are those of `calibration_error`; where equal probabilities leave a bin empty, there are fewer. The
    intervals are Wilson's, which take impressions for independent: those of a user hang together, so the true ones are
    somewhat wider.

    ```
    (r + z^2 / 2n ± z sqrt(r (1 - r) / n + z^2 / 4n^2)) / (1 + z^2 / n)        r: click rate, n: impressions, z = 1.96
    ```

    Args:
        labels: `[impressions]`, 0 or 1.
        probabilities: `[impressions]`, of a click, in [0, 1].
        bins: at least 1.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, a probability is NaN or outside [0, 1], or
            `bins` is less than 1.

    Example:
        >>> curve = calibration_curve([0, 0, 1, 1], [0.1, 0.3, 0.5, 0.7], bins=2)
        >>> curve.predicted.round(2).tolist(), curve.observed.tolist()
        ([0.2, 0.6], [0.0, 1.0])

    Reference:
        Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 1927.
    """
    clicked = binary_labels(labels)
    array = probabilities_of(probabilities, clicked)
    if bins < 1:
        raise ValueError(f"`bins` must be at least 1. Received: {bins}.")
    _, numbers, sizes = np.unique(equal_mass_groups(array, bins), return_inverse=True, return_counts=True)
    predicted = np.bincount(numbers, weights=array.astype(np.float64)) / sizes
    observed = np.bincount(numbers, weights=clicked) / sizes
    lower, upper = _wilson(observed, sizes)
    return CalibrationCurve(predicted, observed, lower, upper, sizes)


def _wilson(rates: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64]) -> tuple[npt.NDArray, npt.NDArray]:
    squares = _Z**2 / sizes
    centres = rates + squares / 2
    halves = _Z * np.sqrt(rates * (1 - rates) / sizes + squares / (4 * sizes))
    # Rounding must not move an end past the rate itself, which lies at one where nothing, or everything, was clicked.
    lower = np.minimum((centres - halves) / (1 + squares), rates)
    return lower.clip(0), np.maximum((centres + halves) / (1 + squares), rates).clip(None, 1)
