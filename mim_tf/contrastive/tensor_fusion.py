"""The tensor fusion network: every image feature meets every title feature."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow import keras

from mim_tf.contrastive.fusion import Fusion


@keras.utils.register_keras_serializable(package="mim_tf")
class TensorFusion(Fusion):
    """Fuses two modalities by their outer product and an MLP.

    `z = [h_img; 1] (outer) [h_txt; 1]`, `h_MM = MLP(flatten(z))`. The appended ones keep each modality alone among
    the products, so `z` holds both the single features and all their pairs. Arguments, and the start as a sum, are
    those of `Fusion`.

    Example:
        >>> TensorFusion(dim=2)(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 2.0]])).numpy()
        array([[1., 2.]], dtype=float32)

    Reference: MIM, equations (3) and (4); Zadeh et al., Tensor Fusion Network (arXiv 1707.07250).
    """

    def _joined(self, image: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        image, text = (tf.concat([h, tf.ones_like(h[:, :1])], axis=-1) for h in (image, text))
        outer = image[:, :, tf.newaxis] * text[:, tf.newaxis, :]  # [batch, image_dim + 1, text_dim + 1]
        return tf.reshape(outer, [-1, image.shape[-1] * text.shape[-1]])

    def _width(self, image_dim: int, text_dim: int) -> int:
        return (image_dim + 1) * (text_dim + 1)

    def _sum(self) -> np.ndarray:
        kernel = np.zeros((self.dim + 1, self.dim + 1, self.dim))  # [image, text, out]
        axis = np.arange(self.dim)
        kernel[axis, self.dim, axis] = self.image_weight  # h_img times the 1 beside h_txt
        kernel[self.dim, axis, axis] = 1.0
        return kernel.reshape(-1, self.dim)
