"""Weights from folders of safetensors into Keras models, with every tensor accounted for."""

from mim_tf.encoders.checkpoints.config import require, require_whole, timm_changes
from mim_tf.encoders.checkpoints.layout import Layout, Source, computed, joined, part
from mim_tf.encoders.checkpoints.positions import copy_weights, resize_grid
from mim_tf.encoders.checkpoints.tensor_files import TensorFiles, read_json

__all__ = [
    "Layout",
    "Source",
    "TensorFiles",
    "computed",
    "copy_weights",
    "joined",
    "part",
    "read_json",
    "require",
    "require_whole",
    "resize_grid",
    "timm_changes",
]
