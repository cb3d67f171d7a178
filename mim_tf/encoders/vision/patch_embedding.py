"""Patches of an image as tokens with learned positions."""

from __future__ import annotations

from typing import Any

import keras
import keras_nlp


@keras.utils.register_keras_serializable(package="mim_tf")
class PatchEmbedding(keras.layers.Layer):
    """`x_i = W patch_i + b + p_i`, one token per patch; pixels at the edge that fill no patch are left out.

    In place of keras-nlp's for SigLIP, which tells one token too many as its output's shape and keeps the positions'
    numbers among the weights. Its variables have the same paths.

    Args:
        hidden_dim: dimension of the tokens.
        patch_size: both sides of a patch, pixels.
        kwargs: Keras' own, such as `name` and `dtype`.

    Call arguments:
        images: `[batch, height, width, 3]` floats.

    Returns:
        `[batch, patches, hidden_dim]`, row by row.

    Reference: Dosovitskiy et al., An Image is Worth 16x16 Words (arXiv 2010.11929), equation (1) without a class token.
    """

    def __init__(self, hidden_dim: int, patch_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.patch_size = patch_size

    def build(self, input_shape: tuple[int | None, int, int, int]) -> None:
        """Positions for as many patches as there are."""
        height, width = input_shape[1] // self.patch_size, input_shape[2] // self.patch_size
        self.patches = height * width
        self.patch_embedding = keras.layers.Conv2D(
            self.hidden_dim, self.patch_size, strides=self.patch_size, dtype=self.dtype_policy, name="patch_embedding"
        )
        self.patch_embedding.build(input_shape)
        self.position_embedding = keras_nlp.layers.PositionEmbedding(
            self.patches,
            initializer=keras.initializers.RandomNormal(stddev=self.hidden_dim**-0.5),
            dtype=self.dtype_policy,
            name="position_embedding",
        )
        self.position_embedding.build((None, self.patches, self.hidden_dim))

    def call(self, images: Any) -> Any:
        """Cut, project and add positions."""
        tokens = keras.ops.reshape(self.patch_embedding(images), (-1, self.patches, self.hidden_dim))
        return tokens + self.position_embedding(tokens)

    def compute_output_shape(self, input_shape: tuple[int | None, int, int, int]) -> tuple[int | None, int, int]:
        """`[batch, patches, hidden_dim]`."""
        patches = (input_shape[1] // self.patch_size) * (input_shape[2] // self.patch_size)
        return input_shape[0], patches, self.hidden_dim

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"hidden_dim": self.hidden_dim, "patch_size": self.patch_size}
