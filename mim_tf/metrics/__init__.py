"""Ranking and retrieval metrics."""

from mim_tf.metrics.age_groups import age_groups
from mim_tf.metrics.auc import auc
from mim_tf.metrics.bootstrap import bootstrap_difference, bootstrap_interval
from mim_tf.metrics.calibration_curve import CalibrationCurve, calibration_curve
from mim_tf.metrics.calibration_error import calibration_error, predicted_over_observed
from mim_tf.metrics.gain_by_group import gain_by_group
from mim_tf.metrics.grouped_auc import GroupedAUC, grouped_auc
from mim_tf.metrics.interval import Interval
from mim_tf.metrics.log_loss import log_loss
from mim_tf.metrics.metrics_by_group import GroupMetrics, metrics_by_group
from mim_tf.metrics.paired_test import holm, paired_p_value
from mim_tf.metrics.ranking_metrics import ranking_metrics
from mim_tf.metrics.relative_improvement import relative_improvement
from mim_tf.metrics.retrieval import nearest, retrieval_metrics
from mim_tf.metrics.seed_interval import paired_seed_interval, seed_interval

__all__ = [
    "CalibrationCurve",
    "GroupMetrics",
    "GroupedAUC",
    "Interval",
    "age_groups",
    "auc",
    "bootstrap_difference",
    "bootstrap_interval",
    "calibration_curve",
    "calibration_error",
    "gain_by_group",
    "grouped_auc",
    "holm",
    "log_loss",
    "metrics_by_group",
    "nearest",
    "paired_p_value",
    "paired_seed_interval",
    "predicted_over_observed",
    "ranking_metrics",
    "relative_improvement",
    "retrieval_metrics",
    "seed_interval",
]
