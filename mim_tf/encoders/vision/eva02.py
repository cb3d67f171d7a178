"""EVA-02: our own backbone, loaded from timm's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mim_tf.encoders.checkpoints import Layout, Source, joined
from mim_tf.encoders.family import Arguments, VisionFamily
from mim_tf.encoders.pixels import CLIP_MEAN, CLIP_STD, Pixels
from mim_tf.encoders.vision.eva02_layers import EVA02Block, EVA02Tokens, layer_norm

_POOLINGS = {"avg": "mean", "token": "class_token"}  # as timm calls them


def build(
    *,
    image_size: int,
    dtype: str,
    patch_size: int,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    mlp_dim: int,
    mlp_norm: bool,
    attention_norm: bool = False,
    pooling: str = "mean",
    reference_grid: int = 16,
) -> keras.Model:
    """Pooled as in timm: what masked image modelling trained as the normalised mean of the patches, CLIP's as class token.

    With the mean, only pooled is normalised, the sequence is not.

    Args:
        image_size: both sides, pixels.
        dtype: policy of all layers.
        patch_size: both sides, pixels.
        num_layers: how many blocks.
        num_heads: of attention.
        hidden_dim: of a token.
        mlp_dim: width inside the gated network.
        mlp_norm: whether the gated network normalises inside, as from base on.
        attention_norm: whether attention normalises inside, as CLIP's do.
        pooling: mean or class_token.
        reference_grid: both sides of the grid of patches in the pre-training, to which rotations are scaled.

    Reference: Fang et al., EVA-02: A Visual Representation for Neon Genesis (arXiv 2303.11331); Sun et al., EVA-CLIP
    (arXiv 2303.15389).
    """
    images = keras.Input((image_size, image_size, 3), dtype=dtype_of_inputs)
    tokens = EVA02Tokens(patch_size, hidden_dim, name="tokens", dtype=dtype)(images)
    for index in range(num_layers):
        tokens = EVA02Block(
            num_heads, mlp_dim, reference_grid, attention_norm, mlp_norm, name=f"block_{index + 1}", dtype=dtype
        )(tokens)
    norm = layer_norm("norm", dtype)
    if pooling == "mean":
        pooled = norm(keras.ops.mean(tokens[:, 1:], axis=1))
    else:
        tokens = norm(tokens)
        pooled = tokens[:, 0]
    return keras.Model(images, {"sequence": tokens, "pooled": pooled}, name="eva02")


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return [layer for layer in model.layers if isinstance(layer, EVA02Block)]


def _size(num_layers: int, num_heads: int, hidden_dim: int, mlp_norm: bool) -> Arguments:
    return {
        "patch_size": 14,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "mlp_dim": hidden_dim * 8 // 3,
        "mlp_norm": mlp_norm,
    }


_SIZES = {
    "eva02_toy": _size(2, 2, 24, mlp_norm=True),
    "eva02_tiny": _size(12, 3, 192, mlp_norm=False),
    "eva02_small": _size(12, 6, 384, mlp_norm=False),
    "eva02_base": _size(12, 12, 768, mlp_norm=True),
    "eva02_large": _size(24, 16, 1024, mlp_norm=True),
}
_CLIP = {"attention_norm": True, "pooling": "class_token"}
# timm's names; the numbers at the end are pixels.
_ARCHITECTURES = {
    "eva02_tiny_patch14_224": _SIZES["eva02_tiny"],
    "eva02_tiny_patch14_336": _SIZES["eva02_tiny"],
    "eva02_small_patch14_224": _SIZES["eva02_small"],
    "eva02_small_patch14_336": _SIZES["eva02_small"],
    "eva02_base_patch14_224": _SIZES["eva02_base"],
    "eva02_base_patch14_448": _SIZES["eva02_base"],
    "eva02_large_patch14_224": _SIZES["eva02_large"],
    "eva02_large_patch14_448": _SIZES["eva02_large"],
    "eva02_base_patch16_clip_224": _SIZES["eva02_base"] | _CLIP | {"patch_size": 16},
    "eva02_large_patch14_clip_224": _SIZES["eva02_large"] | _CLIP,
    "eva02_large_patch14_clip_336": _SIZES["eva02_large"] | _CLIP,
}
