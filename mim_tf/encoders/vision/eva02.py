"""EVA-02: our own backbone, loaded from timm's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mim_tf.encoders.checkpoints import Layout, Source, joined, timm_changes
from mim_tf.encoders.family import Arguments, VisionFamily
from mim_tf.encoders.pixels import Pixels
from mim_tf.encoders.vision.eva02_layers import EVA02Block, EVA02Tokens, layer_norm

_MLP_RATIO = 8 / 3  # two thirds of the usual 4, for the gate makes it three matrices
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


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
    """Pooled is the normalised mean of the patches, or with CLIP's weights the class token, both as in timm's `Eva`.

    The sequence is normalised with the class token only, as there.

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
    images = keras.Input((image_size, image_size, 3))
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
        "mlp_dim": int(hidden_dim * _MLP_RATIO),
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
_POOLINGS = {"avg": "mean", "token": "class_token"}
# What timm's `model_args` may change.
_CHANGEABLE = {
    "depth": "num_layers",
    "embed_dim": "hidden_dim",
    "global_pool": "pooling",
    "num_heads": "num_heads",
    "patch_size": "patch_size",
    "ref_feat_shape": "reference_grid",
}


def _from_timm(config: Mapping[str, Any]) -> Arguments:
    name = config["architecture"]
    if name not in _ARCHITECTURES:
        raise ValueError(f"`architecture` must be one of {', '.join(sorted(_ARCHITECTURES))}. Received: {name!r}.")
    changes = timm_changes(config, pooling=_POOLINGS, changeable=_CHANGEABLE)
    if "pooling" in changes:
        changes["pooling"] = _POOLINGS[changes["pooling"]]
    for theirs in ("patch_size", "ref_feat_shape"):
        if (ours := _CHANGEABLE[theirs]) in changes:
            changes[ours] = _side(theirs, changes[ours])
    arguments = _ARCHITECTURES[name] | changes
    return arguments | {"mlp_dim": int(arguments["hidden_dim"] * _MLP_RATIO)}


def _side(name: str, value: Any) -> Any:
    """One side of a square, of which timm may give both."""
    if not isinstance(value, list):
        return value
    if len(set(value)) != 1:
        raise ValueError(f"`{name}` must be square. Received: {value!r}.")
    return value[0]


def _timm_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "tokens/patch_embedding": "patch_embed.proj",
        "tokens/class_token": "cls_token",
        "tokens/position_embedding": "pos_embed",
        "norm": "fc_norm" if arguments.get("pooling", "mean") == "mean" else "norm",
    }
    for index in range(arguments["num_layers"]):
        ours, theirs = f"block_{index + 1}", f"blocks.{index}"
        sources |= {
            f"{ours}/attention_norm": f"{theirs}.norm1",
            f"{ours}/attention/norm": f"{theirs}.attn.norm",
            f"{ours}/attention/output_projection": f"{theirs}.attn.proj",
            f"{ours}/mlp_norm": f"{theirs}.norm2",
            f"{ours}/mlp/norm": f"{theirs}.mlp.norm",
            f"{ours}/mlp/output_projection": f"{theirs}.mlp.fc2",
        }
        inner = _separate if arguments["mlp_norm"] else _fused
        sources |= {f"{ours}/{path}": source for path, source in inner(theirs).items()}
    return sources


def _fused(block: str) -> dict[str, str | Source]:
    """Tiny's and small's: one matrix for queries, keys and values, one for gates and values."""
    return {
        "attention/query_key_value": f"{block}.attn.qkv",
        "attention/query_bias": f"{block}.attn.q_bias",
        "attention/value_bias": f"{block}.attn.v_bias",
        "mlp/gate_and_value": f"{block}.mlp.fc1",
    }


def _separate(block: str) -> dict[str, str | Source]:
    """Base's and large's: a matrix for each."""
    return {
        "attention/query_key_value": joined(*(f"{block}.attn.{name}_proj" for name in "qkv")),
        "attention/query_bias": f"{block}.attn.q_proj.bias",
        "attention/value_bias": f"{block}.attn.v_proj.bias",
        "mlp/gate_and_value": joined(f"{block}.mlp.fc1_g", f"{block}.mlp.fc1_x"),
    }


EVA02 = VisionFamily(
    build=build,
    sizes=_SIZES,
    blocks=_blocks,
    layouts=(
        Layout(
            library="timm",
            recognises=lambda config: str(config.get("architecture")).startswith("eva02_"),
            arguments=_from_timm,
            sources=_timm_sources,
            unused=(r"head\..*",),
            antialias=True,
        ),
    ),
    pixels=Pixels(crop=0.9, interpolation="bicubic", mean=_CLIP_MEAN, std=_CLIP_STD),
    grids=lambda arguments: {"tokens/position_embedding": 1},
)
