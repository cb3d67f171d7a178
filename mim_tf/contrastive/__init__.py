"""Contrastive learning: InfoNCE, its negatives from past batches, fusion, what to watch, and what replicas share."""

from mim_tf.contrastive.alignment_uniformity import alignment, uniformity
from mim_tf.contrastive.concat_fusion import ConcatFusion
from mim_tf.contrastive.info_nce import Contrast, FurtherNegatives, info_nce
from mim_tf.contrastive.negative_queue import NegativeQueue
from mim_tf.contrastive.pair_sigmoid import pair_sigmoid
from mim_tf.contrastive.queue_softmax import QueuedNegatives
from mim_tf.contrastive.replicas import gather, own_rows, replica_count, replica_index, replica_mean
from mim_tf.contrastive.tensor_fusion import TensorFusion

__all__ = [
    "ConcatFusion",
    "Contrast",
    "FurtherNegatives",
    "NegativeQueue",
    "QueuedNegatives",
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
