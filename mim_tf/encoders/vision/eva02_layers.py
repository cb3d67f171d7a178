"""The layers of EVA-02: tokens, attention between rotated queries and keys, the gated network, and their block."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from mim_tf.encoders.vision.eva02_rotary import rotary_tables, rotate

_EPSILON = 1e-6


@keras.utils.register_keras_serializable(package="mim_tf")
class EVA02Tokens(keras.layers.Layer):
    """A class token and one token per patch, each with its learned position added.

    Args:
        patch_size: both sides of a patch, pixels; the image's sides are multiples of it.
        hidden_dim: of a token.
        kwargs: Keras' own, such as `name` and `dtype`.

    Call arguments:
        images: `[batch, height, width, 3]`, normalised.

    Returns:
        `[batch, 1 + patches, hidden_dim]`, the class token first, then patches row by row.

    Reference: Dosovitskiy et al., An Image is Worth 16x16 Words (arXiv 2010.11929), equation (1).
    """

    def __init__(self, patch_size: int, hidden_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim

    def build(self, shape: tuple[int | None, int, int, int]) -> None:
        """Positions are as many as the tokens of an image of this size."""
        self.patches = (shape[1] // self.patch_size) * (shape[2] // self.patch_size)
        self.patch_embedding = keras.layers.Conv2D(
            self.hidden_dim,
            self.patch_size,
            strides=self.patch_size,
            kernel_initializer=_normal(),
            dtype=self.dtype_policy,
            name="patch_embedding",
        )
        self.patch_embedding.build(shape)
        self.class_token = self.add_weight((1, 1, self.hidden_dim), _normal(), name="class_token")
        self.position_embedding = self.add_weight(
            (1, 1 + self.patches, self.hidden_dim), _normal(), name="position_embedding"
        )

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Cut, project and add positions."""
        patches = tf.reshape(self.patch_embedding(images), [-1, self.patches, self.hidden_dim])
        first = tf.tile(self.class_token, [tf.shape(patches)[0], 1, 1])
        return tf.concat([first, patches], axis=1) + self.position_embedding

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"patch_size": self.patch_size, "hidden_dim": self.hidden_dim}


@keras.utils.register_keras_serializable(package="mim_tf")
class EVA02Attention(keras.layers.Layer):
    """Self-attention in which rotations tell where patches lie.

    ```
    Q, K, V = R(x W_Q + b_Q), R(x W_K), x W_V + b_V     R: `rotate` by place, per head
    y = LN(softmax(Q K^T / sqrt(head_dim)) V) W_O + b_O     LN only with `inner_norm`
    ```

    Args:
        num_heads: heads, each of a multiple of 4 channels.
        reference_grid: both sides of the grid of patches in the pre-training.
        inner_norm: normalise what the heads return.
        kwargs: Keras' own, such as `name` and `dtype`.

    Call arguments:
        tokens: `[batch, 1 + grid * grid, dim]`, the class token first, then patches row by row.

    Returns:
        Of the same shape.

    Raises:
        ValueError: `dim` is not made of heads of a multiple of 4 channels, or patches do not make up a square.

    Reference: Fang et al., EVA-02 (arXiv 2303.11331), section 2.1; LN: timm's EVA-CLIP, `eva02_base_patch16_clip_224`.
    """

    def __init__(self, num_heads: int, reference_grid: int, inner_norm: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.reference_grid = reference_grid
        self.inner_norm = inner_norm

    def build(self, shape: tuple[int | None, int, int]) -> None:
        """One matrix for queries, keys and values."""
        _, tokens, dim = shape
        grid = math.isqrt(tokens - 1)
        if dim % (4 * self.num_heads):
            raise ValueError(
                f"`hidden_dim` must be a multiple of 4 `num_heads`, {4 * self.num_heads}. Received: {dim}."
            )
        if grid * grid != tokens - 1:
            raise ValueError(f"`tokens` must be a class token and a square of patches. Received: {tokens} tokens.")
        self._grid = grid
        self.query_key_value = _dense(3 * dim, "query_key_value", self.dtype_policy, use_bias=False)
        self.query_key_value.build(shape)
        self.query_bias = self.add_weight(shape=(dim,), name="query_bias", initializer="zeros")
        self.value_bias = self.add_weight(shape=(dim,), name="value_bias", initializer="zeros")
        self.norm = layer_norm("norm", self.dtype_policy) if self.inner_norm else None
        if self.norm:
            self.norm.build(shape)
        self.output_projection = _dense(dim, "output_projection", self.dtype_policy)
        self.output_projection.build(shape)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        """Attend from every token to every token."""
        length, dim = tokens.shape[1:]
        head_dim = dim // self.num_heads
        bias = tf.concat([self.query_bias, tf.zeros_like(self.query_bias), self.value_bias], axis=0)
        projected = tf.reshape(self.query_key_value(tokens) + bias, [-1, length, 3, self.num_heads, head_dim])
        # each [batch, heads, tokens, head_dim]
        queries, keys, values = tf.unstack(tf.transpose(projected, [2, 0, 3, 1, 4]))
        tables = rotary_tables(head_dim, self._grid, self.reference_grid)
        cosines, sines = (tf.cast(table, queries.dtype) for table in tables)
        queries, keys = rotate(queries, cosines, sines), rotate(keys, cosines, sines)
        scores = tf.matmul(queries * head_dim**-0.5, keys, transpose_b=True)
        weights = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), values.dtype)
        heads = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])  # [batch, tokens, heads, head_dim]
        merged = tf.reshape(heads, [-1, length, dim])
        return self.output_projection(self.norm(merged) if self.norm else merged)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"num_heads": self.num_heads, "reference_grid": self.reference_grid, "inner_norm": self.inner_norm}
        return super().get_config() | own


@keras.utils.register_keras_serializable(package="mim_tf")
class EVA02SwiGLU(keras.layers.Layer):
    """A feed-forward network with a gate: `y = LN(silu(x W_g + b_g) * (x W_v + b_v)) W + b`, LN only with `inner_norm`.

    Args:
        mlp_dim: width inside.
        inner_norm: normalise what is inside.
        kwargs: Keras' own, such as `name` and `dtype`.

    Call arguments:
        tokens: `[batch, tokens, dim]`.

    Returns:
        Of the same shape.

    Reference: Shazeer, GLU Variants Improve Transformer (arXiv 2002.05202), equation (6); LN: Fang et al., EVA-02
    (arXiv 2303.11331), section 2.1.
    """

    def __init__(self, mlp_dim: int, inner_norm: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.mlp_dim = mlp_dim
        self.inner_norm = inner_norm

    def build(self, shape: tuple[int | None, int, int]) -> None:
        """One matrix for gates and values."""
        inner = (*shape[:-1], self.mlp_dim)
        self.gate_and_value = _dense(2 * self.mlp_dim, "gate_and_value", self.dtype_policy)
        self.gate_and_value.build(shape)
        self.norm = layer_norm("norm", self.dtype_policy) if self.inner_norm else None
        if self.norm:
            self.norm.build(inner)
        self.output_projection = _dense(shape[-1], "output_projection", self.dtype_policy)
        self.output_projection.build(inner)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        """Widen, gate, narrow."""
        gates, values = tf.split(self.gate_and_value(tokens), 2, axis=-1)
        gated = tf.nn.silu(gates) * values
        return self.output_projection(self.norm(gated) if self.norm else gated)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"mlp_dim": self.mlp_dim, "inner_norm": self.inner_norm}


@keras.utils.register_keras_serializable(package="mim_tf")
class EVA02Block(keras.layers.Layer):
    """A pre-norm transformer block: `x' = x + attention(LN(x))`, `y = x' + mlp(LN(x'))`.

    Args:
        num_heads: as in `EVA02Attention`.
        mlp_dim: as in `EVA02SwiGLU`.
        reference_grid: as in `EVA02Attention`.
        attention_norm: `inner_norm` of `EVA02Attention`.
        mlp_norm: `inner_norm` of `EVA02SwiGLU`.
        kwargs: Keras' own, such as `name` and `dtype`.

    Call arguments:
        tokens: as in `EVA02Attention`.

    Returns:
        Of the same shape.

    Reference: Fang et al., EVA-02 (arXiv 2303.11331), section 2.1.
    """

    def __init__(
        self, num_heads: int, mlp_dim: int, reference_grid: int, attention_norm: bool, mlp_norm: bool, **kwargs: Any
    ):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.attention_norm = layer_norm("attention_norm", policy)
        self.attention = EVA02Attention(num_heads, reference_grid, attention_norm, name="attention", dtype=policy)
        self.mlp_norm = layer_norm("mlp_norm", policy)
        self.mlp = EVA02SwiGLU(mlp_dim, mlp_norm, name="mlp", dtype=policy)

    def build(self, shape: tuple[int | None, int, int]) -> None:
        """All inside take what the block takes."""
        for layer in (self.attention_norm, self.attention, self.mlp_norm, self.mlp):
            layer.build(shape)

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        """Attention over the tokens, then the network on each."""
        tokens += self.attention(self.attention_norm(tokens))
        return tokens + self.mlp(self.mlp_norm(tokens))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "num_heads": self.attention.num_heads,
            "mlp_dim": self.mlp.mlp_dim,
            "reference_grid": self.attention.reference_grid,
            "attention_norm": self.attention.inner_norm,
            "mlp_norm": self.mlp.inner_norm,
        }


def layer_norm(name: str, dtype: Any) -> keras.layers.LayerNormalization:
    """Layer normalisation as everywhere in EVA-02."""
    return keras.layers.LayerNormalization(epsilon=_EPSILON, name=name, dtype=dtype)


def _dense(units: int, name: str, dtype: Any, use_bias: bool = True) -> keras.layers.Dense:
    return keras.layers.Dense(units, use_bias=use_bias, kernel_initializer=_normal(), name=name, dtype=dtype)


def _normal() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)
