"""Fusion without the tensor: image and title side by side."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow import keras

from mim_tf.contrastive.fusion import Fusion


@keras.utils.register_keras_serializable(package="mim_tf")
class ConcatFusion(Fusion):
    """Fuses two modalities by an MLP of both.

    `h_MM = MLP([h_img; h_txt])`. No feature of one meets one of the other but in hidden layers. Arguments, and the
    start as a sum, are those of `Fusion`.

    Example:
        >>> ConcatFusion(dim=2)(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 2.0]])).numpy()
        array([[1., 2.]], dtype=float32)

    Reference: MIM, Table 5 ("w/o TFN").
    """

    def _joined(self, image: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        return tf.concat([image, text], axis=-1)

    def _width(self, image_dim: int, text_dim: int) -> int:
        return image_dim + text_dim

    def _sum(self) -> np.ndarray:
        return np.concatenate([self.image_weight * np.eye(self.dim), np.eye(self.dim)])
