"""The tensor fusion network: every image feature meets every title feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="mim_tf")
class TensorFusion(keras.layers.Layer):
    """Fuses two modalities by their outer product and an MLP.

    `z = [h_img; 1] (outer) [h_txt; 1]`, `h_MM = MLP(flatten(z))`. The appended ones keep each modality alone among
    the products, so `z` holds both the single features and all their pairs.

    Args:
        units: sizes of the MLP's hidden layers (ReLU).
        dim: dimension of the fused embedding.

    Call arguments:
        image: `[batch, image_dim]` embeddings.
        text: `[batch, text_dim]` embeddings.

    Returns:
        `[batch, dim]`.

    Raises:
        ValueError: `dim` or a hidden layer's size is not positive.

    Example:
        `TensorFusion(units=(256,), dim=64)(h_img, h_txt)`

    Reference: MIM, equations (3) and (4); Zadeh et al., Tensor Fusion Network (arXiv 1707.07250).
    """

    def __init__(self, units: Sequence[int], dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        if dim < 1 or any(size < 1 for size in units):
            raise ValueError(f"`units` and `dim` must be positive. Received: {tuple(units)}, {dim}.")
        self.units = tuple(units)
        self.dim = dim
        self.hidden = [keras.layers.Dense(size, activation="relu", name=f"hidden_{i}") for i, size in enumerate(units)]
        self.out = keras.layers.Dense(dim, name="out")

    def build(self, image_shape: Any, text_shape: Any = None) -> None:
        """Create the MLP's weights; tf_keras hands over one shape only and has them created at the first call."""
        if text_shape is not None:
            width = (image_shape[-1] + 1) * (text_shape[-1] + 1)
            for layer in (*self.hidden, self.out):
                layer.build((None, width))
                width = layer.units
        self.built = True

    def call(self, image: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        """Fuse a batch."""
        image, text = (tf.concat([h, tf.ones_like(h[:, :1])], axis=-1) for h in (image, text))
        outer = image[:, :, tf.newaxis] * text[:, tf.newaxis, :]  # [batch, image_dim + 1, text_dim + 1]
        fused = tf.reshape(outer, [-1, image.shape[-1] * text.shape[-1]])
        for layer in self.hidden:
            fused = layer(fused)
        return self.out(fused)

    def compute_output_shape(self, image_shape: Any, text_shape: Any = None) -> tuple[int | None, int]:
        """`[batch, dim]`."""
        return (image_shape[0], self.dim)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units, "dim": self.dim}
