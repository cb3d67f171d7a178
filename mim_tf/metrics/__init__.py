"""Ranking and retrieval metrics."""

from mim_tf.metrics.auc import auc
from mim_tf.metrics.grouped_auc import GroupedAUC, grouped_auc
from mim_tf.metrics.log_loss import log_loss
from mim_tf.metrics.ranking_metrics import ranking_metrics
from mim_tf.metrics.retrieval import nearest, retrieval_metrics

__all__ = ["GroupedAUC", "auc", "grouped_auc", "log_loss", "nearest", "ranking_metrics", "retrieval_metrics"]
