"""Contrastive learning: InfoNCE, tensor fusion, what to watch, and what replicas share, as functions and layers."""

from mim_tf.contrastive.alignment_uniformity import alignment, uniformity
from mim_tf.contrastive.info_nce import info_nce
from mim_tf.contrastive.pair_sigmoid import pair_sigmoid
from mim_tf.contrastive.replicas import gather, own_rows, replica_count, replica_index, replica_mean
from mim_tf.contrastive.tensor_fusion import TensorFusion

__all__ = [
    "TensorFusion",
    "alignment",
    "gather",
    "info_nce",
    "own_rows",
    "pair_sigmoid",
    "replica_count",
    "replica_index",
    "replica_mean",
    "uniformity",
]
