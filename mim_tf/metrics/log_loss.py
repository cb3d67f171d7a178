"""Log loss: how well the probabilities say what happened."""

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.checks import Bools, Floats, binary_labels, probabilities_of


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    ```
    -1/n sum_i (y_i log p_i + (1 - y_i) log(1 - p_i))
    ```

    Probabilities are first held `eps` of their dtype away from 0 and 1, so that one sure mistake costs much, not
    everything.

    Args:
        labels: `[impressions]`, 0 or 1.
        probabilities: `[impressions]`, of a click, in [0, 1].

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> round(log_loss([1, 0], [0.5, 0.5]), 4)
        0.6931
    """
    clicked = binary_labels(labels)
    return float(np.mean(losses(clicked, probabilities_of(probabilities, clicked))))


def losses(clicked: Bools, probabilities: Floats) -> npt.NDArray[np.float64]:
    """Return each impression's negative log-likelihood, in nats.

    Args:
        clicked: `[impressions]`.
        probabilities: `[impressions]`, in [0, 1].

    Returns:
        `[impressions]`.
    """
    eps = float(np.finfo(probabilities.dtype).eps)
    of_click = np.clip(probabilities.astype(np.float64), eps, 1 - eps)
    return -np.log(np.where(clicked, of_click, 1 - of_click))
