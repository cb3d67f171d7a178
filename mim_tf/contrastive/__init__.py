"""Contrastive learning: InfoNCE and tensor fusion, as functions and layers of their own."""

from mim_tf.contrastive.info_nce import info_nce
from mim_tf.contrastive.tensor_fusion import TensorFusion

__all__ = ["TensorFusion", "info_nce"]
