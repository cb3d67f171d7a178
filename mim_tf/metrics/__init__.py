"""Ranking metrics."""

from mim_tf.metrics.auc import auc
from mim_tf.metrics.grouped_auc import GroupedAUC, grouped_auc
from mim_tf.metrics.log_loss import log_loss
from mim_tf.metrics.ranking_metrics import ranking_metrics

__all__ = ["GroupedAUC", "auc", "grouped_auc", "log_loss", "ranking_metrics"]
