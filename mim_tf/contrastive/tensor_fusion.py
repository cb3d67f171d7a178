"""The tensor fusion network: every image feature meets every title feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="mim_tf")
class TensorFusion(keras.layers.Layer):
    """Fuses two modalities by their outer product and an MLP.

    `z = [h_img; 1] (outer) [h_txt; 1]`, `h_MM = MLP(flatten(z))`. The appended ones keep each modality alone among
    the products, so `z` holds both the single features and all their pairs.

    Without hidden layers and with all dimensions equal it starts as the sum of the two, `h_MM = h_img + h_txt`, and
    learns the products from there: what the encoders know already is not lost in a random projection.

    Args:
        dim: dimension of the fused embedding.
        units: sizes of the MLP's hidden layers (ReLU); none makes it linear in `z`.

    Call arguments:
        image: `[batch, image_dim]` embeddings.
        text: `[batch, text_dim]` embeddings.

    Returns:
        `[batch, dim]`.

    Raises:
        ValueError: `dim` or a hidden layer's size is not positive.

    Example:
        >>> TensorFusion(dim=2)(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 2.0]])).numpy()
        array([[1., 2.]], dtype=float32)

    Reference: MIM, equations (3) and (4); Zadeh et al., Tensor Fusion Network (arXiv 1707.07250).
    """

    def __init__(self, dim: int, units: Sequence[int] = (), **kwargs: Any):
        super().__init__(**kwargs)
        if dim < 1 or any(size < 1 for size in units):
            raise ValueError(f"`units` and `dim` must be positive. Received: {tuple(units)}, {dim}.")
        self.units = tuple(units)
        self.dim = dim
        self.hidden = [keras.layers.Dense(size, activation="relu", name=f"hidden_{i}") for i, size in enumerate(units)]
        self.out = keras.layers.Dense(dim, kernel_initializer=self._initial_kernel, name="out")

    def build(self, image_shape: Any, text_shape: Any = None) -> None:
        """Create the MLP's weights; tf_keras hands over one shape only and has them created at the first call."""
        if text_shape is not None:
            width = (image_shape[-1] + 1) * (text_shape[-1] + 1)
            for layer in (*self.hidden, self.out):
                layer.build((None, width))
                width = layer.units
        self.built = True

    def _initial_kernel(self, shape: Any, dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        """A sum of the embeddings where the shapes allow it, otherwise Glorot's."""
        if self.units or shape[0] != (self.dim + 1) ** 2:
            return keras.initializers.GlorotUniform()(shape, dtype=dtype)
        kernel = np.zeros((self.dim + 1, self.dim + 1, self.dim))  # [image, text, out]
        axis = np.arange(self.dim)
        kernel[axis, self.dim, axis] = 1.0  # h_img times the 1 beside h_txt
        kernel[self.dim, axis, axis] = 1.0
        return tf.constant(kernel.reshape(shape), dtype or "float32")

    def call(self, image: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        """Fuse a batch."""
        # tf_keras casts the first argument only, so both are cast here.
        image, text = (tf.cast(h, self.compute_dtype) for h in (image, text))
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
        return {**super().get_config(), "dim": self.dim, "units": self.units}
