"""Calibration: whether of the impressions predicted at 3% about 3% are clicked."""

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.checks import binary_labels, probabilities_of
from mim_tf.metrics.equal_mass import equal_mass_groups


def calibration_error(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, bins: int = 20) -> float:
    """Return the expected calibration error over bins of equally many impressions.

    ```
    ECE = sum_b n_b / n |mean probability in b - click rate in b|
    ```

    Bins of equal mass, since click probabilities crowd near 0, where bins of equal width would put nearly all
    impressions into one. Equal probabilities share a bin (see `equal_mass_groups`), so a constant prediction has a
    single one. Chance alone gives each bin an error: a perfectly calibrated model with click rate c over n impressions
    comes to about sqrt(2 bins c (1 - c) / (pi n)). Compare models on the same impressions with the same bins.

    Args:
        labels: `[impressions]`, 0 or 1.
        probabilities: `[impressions]`, of a click, in [0, 1].
        bins: number of bins, at least 1.

    Returns:
        From 0, calibrated, to 1.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, a probability is NaN or outside [0, 1], or
            `bins` is less than 1.

    Example:
        >>> error = calibration_error([0, 0, 1, 1], [0.1, 0.3, 0.5, 0.7], bins=2)
        >>> round(error, 4)  # the bins predict 0.2 and 0.6, and see 0 and 1
        0.3

    Reference:
        Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015, for the error;
        Nixon et al., Measuring Calibration in Deep Learning, arXiv:1904.01685, for bins of equal mass.
    """
    clicked = binary_labels(labels)
    array = probabilities_of(probabilities, clicked)
    if bins < 1:
        raise ValueError(f"`bins` must be at least 1. Received: {bins}.")
    # The click rate's and the mean probability's difference, times the bin's size.
    surplus = np.bincount(equal_mass_groups(array, bins), weights=array.astype(np.float64) - clicked)
    return float(np.abs(surplus).sum() / clicked.size)


def predicted_over_observed(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the mean predicted probability over the observed click rate: 1 is right, 2 promises twice the clicks.

    ```
    sum_i p_i / sum_i y_i
    ```

    It says whether bids and budgets come out right on the whole. A model may have 1 and still be wrong everywhere,
    which `calibration_error` sees.

    Args:
        labels: `[impressions]`, 0 or 1, of them at least one 1.
        probabilities: `[impressions]`, of a click, in [0, 1].

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, none is 1, or a probability is NaN or outside
            [0, 1].

    Example:
        >>> predicted_over_observed([0, 0, 0, 1], [0.25, 0.25, 0.5, 0.5])
        1.5

    Reference:
        He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, ADKDD 2014, section 2 ("calibration").
    """
    clicked = binary_labels(labels)
    array = probabilities_of(probabilities, clicked)
    if not clicked.any():
        raise ValueError(f"`labels` must hold a 1, or there is no click rate. Received: {clicked.size} labels, all 0.")
    return float(array.sum(dtype=np.float64) / clicked.sum())
