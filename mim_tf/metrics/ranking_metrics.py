"""The numbers a ranking stage reports."""

import numpy.typing as npt

from mim_tf.metrics.auc import auc
from mim_tf.metrics.calibration_error import calibration_error, predicted_over_observed
from mim_tf.metrics.checks import binary_labels, probabilities_of
from mim_tf.metrics.grouped_auc import grouped_auc
from mim_tf.metrics.log_loss import log_loss


def ranking_metrics(labels: npt.ArrayLike, probabilities: npt.ArrayLike, users: npt.ArrayLike) -> dict[str, float]:
    """Return the ranking metrics of predicted impressions, by name.

    Args:
        labels: `[impressions]`, 0 or 1.
        probabilities: `[impressions]`, of a click, in [0, 1].
        users: `[impressions]`, user ids: integers, bytes or strings.

    Returns:
        `auc`; `grouped_auc` and how many users and impressions it counts, `grouped_auc_users` and
        `grouped_auc_impressions`; `log_loss` in nats; `calibration_error` over 20 bins and `predicted_over_observed`,
        the mean probability over the click rate; `impressions`, how many there were.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, all are the same, no user has both, or a
            probability is NaN or outside [0, 1].

    Example:
        >>> metrics = ranking_metrics([0, 1, 1, 0], [0.2, 0.7, 0.6, 0.6], ["ann", "ann", "bob", "bob"])
        >>> metrics["auc"], metrics["grouped_auc"], metrics["grouped_auc_users"]
        (0.875, 0.75, 2.0)
    """
    clicked = binary_labels(labels)
    array = probabilities_of(probabilities, clicked)
    per_user = grouped_auc(clicked, array, users)
    return {
        "auc": auc(clicked, array),
        "grouped_auc": per_user.auc,
        "grouped_auc_users": float(per_user.groups),
        "grouped_auc_impressions": float(per_user.impressions),
        "log_loss": log_loss(clicked, array),
        "calibration_error": calibration_error(clicked, array),
        "predicted_over_observed": predicted_over_observed(clicked, array),
        "impressions": float(clicked.size),
    }
