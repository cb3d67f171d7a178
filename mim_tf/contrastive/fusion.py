"""What the ways to fuse an image and a title have in common: an MLP that starts as their sum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras


class Fusion(keras.layers.Layer):
    """Fuses two modalities: `h_MM = MLP(z)`, where a subclass says what `z` is.

    Without hidden layers and with all dimensions equal it starts as a sum of the two, `h_MM = w h_img + h_txt`, and
    learns from there: what the encoders know already is not lost in a random projection.

    Args:
        dim: dimension of the fused embedding.
        units: sizes of the MLP's hidden layers (ReLU); none makes it linear in `z`.
        image_weight: w, of the sum it starts as.

    Call arguments:
        image: `[batch, image_dim]` embeddings.
        text: `[batch, text_dim]` embeddings.

    Returns:
        `[batch, dim]`.

    Raises:
        ValueError: `dim` or a hidden layer's size is not positive.
    """

    def __init__(self, dim: int, units: Sequence[int] = (), image_weight: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        if dim < 1 or any(size < 1 for size in units):
            raise ValueError(f"`units` and `dim` must be positive. Received: {tuple(units)}, {dim}.")
        self.units = tuple(units)
        self.dim = dim
        self.image_weight = image_weight
        self.hidden = [keras.layers.Dense(size, activation="relu", name=f"hidden_{i}") for i, size in enumerate(units)]
        self.out = keras.layers.Dense(dim, kernel_initializer=self._initial_kernel, name="out")

    @abstractmethod
    def _joined(self, image: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        """What the MLP gets, `[batch, width]`."""

    @abstractmethod
    def _width(self, image_dim: int, text_dim: int) -> int:
        """Of what the MLP gets."""

    @abstractmethod
    def _sum(self) -> np.ndarray:
        """The `[width, dim]` kernel of `w h_img + h_txt`, where both are of dimension `dim`."""

    def build(self, image_shape: Any, text_shape: Any = None) -> None:
        """Create the MLP's weights; tf_keras hands over one shape only and has them created at the first call."""
        if text_shape is not None:
            width = self._width(image_shape[-1], text_shape[-1])
            for layer in (*self.hidden, self.out):
                layer.build((None, width))
                width = layer.units
        self.built = True

    def _initial_kernel(self, shape: Any, dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        """A sum of the embeddings where the shapes allow it, otherwise Glorot's."""
        if self.units or shape[0] != self._width(self.dim, self.dim):
            return keras.initializers.GlorotUniform()(shape, dtype=dtype)
        return tf.constant(self._sum(), dtype or "float32")

    def call(self, image: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        """Fuse a batch."""
        # tf_keras casts the first argument only, so both are cast here.
        fused = self._joined(*(tf.cast(h, self.compute_dtype) for h in (image, text)))
        for layer in self.hidden:
            fused = layer(fused)
        return self.out(fused)

    def compute_output_shape(self, image_shape: Any, text_shape: Any = None) -> tuple[int | None, int]:
        """`[batch, dim]`."""
        return (image_shape[0], self.dim)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "dim": self.dim, "units": self.units, "image_weight": self.image_weight}
