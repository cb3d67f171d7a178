"""The layers of BEiT-3: both modalities' embeddings, and the block in which they share nothing but attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

EPSILON = 1e-5
OFFSET = 2  # rows of position tables before the first token's, a custom of fairseq's


@keras.utils.register_keras_serializable(package="mim_tf")
class ImageTokens(keras.layers.Layer):
    """A class token and one token per patch, each with its position added.

    Args:
        patch_size: both sides of a patch, pixels.
        hidden_dim: of a token.

    Call arguments:
        images: `[batch, height, width, 3]`, normalised.

    Returns:
        `[batch, 1 + patches, hidden_dim]`.

    Raises:
        ValueError: the images are not made of whole patches.

    Reference: Wang et al., Image as a Foreign Language (arXiv 2208.10442), section 2.1.
    """

    def __init__(self, patch_size: int, hidden_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.projection = keras.layers.Conv2D(
            hidden_dim, patch_size, strides=patch_size, name="projection", dtype=self.dtype_policy
        )

    def build(self, shape: tuple[int | None, int, int, int]) -> None:
        """Positions are as many as there are patches in an image of this size."""
        _, height, width, _ = shape
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"`image_size` must be a multiple of the patch size {self.patch_size}. Received: {height} x {width}."
            )
        patches = (height // self.patch_size) * (width // self.patch_size)
        self.projection.build(shape)
        self.class_token = self.add_weight(shape=(1, 1, self.hidden_dim), name="class_token", initializer="zeros")
        self.positions = self.add_weight(
            shape=(OFFSET + 1 + patches, self.hidden_dim), name="positions", initializer=_normal()
        )

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Cut a batch of images into tokens."""
        grid = self.projection(images)  # [batch, rows, columns, hidden_dim]
        patches = tf.reshape(grid, [-1, grid.shape[1] * grid.shape[2], self.hidden_dim])
        first = tf.tile(self.class_token, [tf.shape(patches)[0], 1, 1])
        return tf.concat([first, patches], axis=1) + self.positions[OFFSET:]

    def get_config(self) -> dict[str, Any]:
        """The sizes beside the base config."""
        return {**super().get_config(), "patch_size": self.patch_size, "hidden_dim": self.hidden_dim}


@keras.utils.register_keras_serializable(package="mim_tf")
class WordTokens(keras.layers.Layer):
    """Each token's embedding with its position added, and zeros where there is padding.

    Args:
        vocabulary_size: number of token ids.
        max_sequence_length: of the longest title, tokens.
        hidden_dim: of a token.

    Call arguments:
        token_ids: `[batch, length]` int32.
        padding_mask: `[batch, length]` bool, false where there is padding.

    Returns:
        `[batch, length, hidden_dim]`.

    Reference: Wang et al., Image as a Foreign Language (arXiv 2208.10442), section 2.1.
    """

    def __init__(self, vocabulary_size: int, max_sequence_length: int, hidden_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.max_sequence_length = max_sequence_length
        self.hidden_dim = hidden_dim
        self.embedding = keras.layers.Embedding(
            vocabulary_size, hidden_dim, _normal(), name="embedding", dtype=self.dtype_policy
        )

    def build(self, shape: Sequence[int | None]) -> None:
        """Positions are as many as the longest title has."""
        self.embedding.build(shape)
        self.positions = self.add_weight(
            shape=(OFFSET + self.max_sequence_length, self.hidden_dim), name="positions", initializer=_normal()
        )

    def call(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        """Look a batch of titles up."""
        tokens = self.embedding(token_ids)
        tokens += self.positions[OFFSET : OFFSET + tf.shape(token_ids)[1]]
        return tokens * tf.cast(padding_mask, tokens.dtype)[:, :, tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        """The sizes beside the base config."""
        sizes = {
            "vocabulary_size": self.vocabulary_size,
            "max_sequence_length": self.max_sequence_length,
            "hidden_dim": self.hidden_dim,
        }
        return {**super().get_config(), **sizes}


@keras.utils.register_keras_serializable(package="mim_tf")
class MultiwayBlock(keras.layers.Layer):
    """A pre-norm transformer block with norms inside both branches too; all weights exist once per modality `m`.

    ```
    Q, K, V = W^m_Q LN^m(x), W^m_K LN^m(x), W^m_V LN^m(x)
    x' = x + W^m_O LN^m(softmax(Q K^T / sqrt(d)) V)     over the tokens of all modalities
    y = x' + W^m_2 LN^m(gelu(W^m_1 LN^m(x')))
    ```

    Args:
        modalities: names of the experts, one or two.
        split: of two, how many tokens are the first one's; they come before the other's.
        num_heads: of attention.
        mlp_dim: width inside the feed-forward network.

    Call arguments:
        tokens: `[batch, length, dim]`.
        padding_mask: `[batch, length]` bool, false where there is padding; None where there is none.

    Returns:
        `[batch, length, dim]`.

    Raises:
        ValueError: the heads do not divide `dim`.

    Reference: Wang et al., Image as a Foreign Language (arXiv 2208.10442), section 2.1, and for the norms inside both
    branches Wang et al., Foundation Transformers (arXiv 2210.06423).
    """

    def __init__(self, modalities: Sequence[str], split: int | None, num_heads: int, mlp_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.modalities = tuple(modalities)
        self.split = split
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.experts = [
            _Expert(num_heads, mlp_dim, name=modality, dtype=self.dtype_policy) for modality in self.modalities
        ]

    def build(self, shape: tuple[int | None, int | None, int]) -> None:
        """Each expert's own weights."""
        if shape[-1] % self.num_heads:
            raise ValueError(f"`num_heads` must divide the hidden dimension {shape[-1]}. Received: {self.num_heads}.")
        for expert in self.experts:
            expert.build(shape)

    def call(self, tokens: tf.Tensor, padding_mask: tf.Tensor | None = None) -> tf.Tensor:
        """One step of all tokens."""
        parts = self._split(tokens)
        projected = [expert.project(part) for expert, part in zip(self.experts, parts, strict=True)]
        query, key, value = (tf.concat(each, axis=2) for each in zip(*projected, strict=True))
        attended = self._split(_attend(query, key, value, padding_mask))
        return tf.concat(
            [expert(*of_both) for expert, *of_both in zip(self.experts, parts, attended, strict=True)], axis=1
        )

    def _split(self, tokens: tf.Tensor) -> list[tf.Tensor]:
        return [tokens] if self.split is None else [tokens[:, : self.split], tokens[:, self.split :]]

    def get_config(self) -> dict[str, Any]:
        """What it is made of beside the base config."""
        made_of = {
            "modalities": self.modalities,
            "split": self.split,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
        }
        return {**super().get_config(), **made_of}


class _Expert(keras.layers.Layer):
    """One modality's weights of a block, before attention (`project`) and after it (`call`)."""

    def __init__(self, num_heads: int, mlp_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim

    def build(self, shape: tuple[int | None, int | None, int]) -> None:
        dim, mlp_dim = shape[-1], self.mlp_dim
        self.attention_norm = self._norm("attention_norm", dim)
        self.query, self.key, self.value = (self._dense(name, dim, dim) for name in ("query", "key", "value"))
        self.attended_norm = self._norm("attended_norm", dim)
        self.attention_output = self._dense("attention_output", dim, dim)
        self.mlp_norm = self._norm("mlp_norm", dim)
        self.mlp_hidden = self._dense("mlp_hidden", dim, mlp_dim)
        self.mlp_hidden_norm = self._norm("mlp_hidden_norm", mlp_dim)
        self.mlp_output = self._dense("mlp_output", mlp_dim, dim)

    def project(self, tokens: tf.Tensor) -> list[tf.Tensor]:
        """`[batch, length, dim]` to query, divided by the root of its width, key and value, each as heads."""
        normed = self.attention_norm(tokens)
        query = self.query(normed) * (tokens.shape[-1] // self.num_heads) ** -0.5
        return [_heads(each, self.num_heads) for each in (query, self.key(normed), self.value(normed))]

    def call(self, tokens: tf.Tensor, attended: tf.Tensor) -> tf.Tensor:
        """What follows attention, `[batch, length, dim]` both."""
        tokens += self.attention_output(self.attended_norm(attended))
        hidden = keras.activations.gelu(self.mlp_hidden(self.mlp_norm(tokens)), approximate=False)
        return tokens + self.mlp_output(self.mlp_hidden_norm(hidden))

    def _norm(self, name: str, dim: int) -> keras.layers.Layer:
        norm = keras.layers.LayerNormalization(epsilon=EPSILON, name=name, dtype=self.dtype_policy)
        norm.build((None, None, dim))
        return norm

    def _dense(self, name: str, dim: int, units: int) -> keras.layers.Layer:
        dense = keras.layers.Dense(units, kernel_initializer=_normal(), name=name, dtype=self.dtype_policy)
        dense.build((None, None, dim))
        return dense


def _heads(tokens: tf.Tensor, num_heads: int) -> tf.Tensor:
    """`[batch, length, dim]` to `[batch, num_heads, length, dim / num_heads]`."""
    heads = tf.reshape(tokens, [-1, tf.shape(tokens)[1], num_heads, tokens.shape[-1] // num_heads])
    return tf.transpose(heads, [0, 2, 1, 3])


def _attend(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, padding_mask: tf.Tensor | None) -> tf.Tensor:
    """`[batch, heads, length, width]` each to `[batch, length, heads * width]`; the softmax is in float32."""
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)  # [batch, heads, length, length]
    if padding_mask is not None:
        scores += tf.where(padding_mask, 0.0, scores.dtype.min)[:, tf.newaxis, tf.newaxis, :]
    attended = tf.matmul(tf.cast(tf.nn.softmax(scores), value.dtype), value)
    dim = query.shape[1] * query.shape[3]
    return tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, tf.shape(query)[2], dim])


def _normal() -> keras.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)
