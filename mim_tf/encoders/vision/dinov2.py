"""DINOv2 with and without registers: keras-nlp's backbone, loaded from transformers' and timm's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, part, require, require_whole, timm_changes
from mim_tf.encoders.family import Arguments, VisionFamily, VisionPreset
from mim_tf.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels

_POSITIONS = "embeddings/position_embeddings"
_INTERPOLATED = "embeddings/interpolated_position_embeddings"


def build(*, image_size: int, dtype: str, **arguments: Any) -> keras.Model:
    """Pooled is the class token after the last normalisation, which DINOv2 trains to tell whole images apart.

    Positions are those of `image_size` and resized when they are loaded, not at each step.

    Reference: Oquab et al., DINOv2 (arXiv 2304.07193); registers: Darcet et al., Vision Transformers Need Registers
    (arXiv 2309.16588).
    """
    shape = (image_size, image_size, 3)
    dino = keras_nlp.models.DINOV2Backbone(
        image_shape=shape, position_embedding_shape=shape, use_mask_token=False, dtype=dtype, **arguments
    )
    # keras-nlp trains one variable of positions and saves another, to which it copies the first if the sum of their
    # signed differences says that it changed: half of all training would be lost. Here it is always copied.
    dino.embeddings._is_interpolated_position_embeddings_updated = lambda: True
    tokens = dino.output  # [batch, class token, registers and patches, hidden]
    return keras.Model(dino.inputs[0], {"sequence": tokens, "pooled": tokens[:, 0]}, name="dinov2")


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return model.get_layer("encoder").layers


def _size(num_layers: int, num_heads: int, hidden_dim: int, patch_size: int = 14, swiglu: bool = False) -> Arguments:
    return {
        "patch_size": patch_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,  # with SwiGLU the paper's, of which two thirds are built
        "use_swiglu_ffn": swiglu,
    }


_SMALL, _BASE, _LARGE = _size(12, 6, 384), _size(12, 12, 768), _size(24, 16, 1024)
_GIANT = _size(40, 24, 1536, swiglu=True)
# What keras-nlp has no argument for.
_FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_channels": 3, "qkv_bias": True}


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    require(config, _FIXED)
    require_whole(config, "patch_size", "image_size")
    return {
        "patch_size": config["patch_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": int(config["hidden_size"] * config["mlp_ratio"]),
        "use_swiglu_ffn": config["use_swiglu_ffn"],
        "num_register_tokens": config.get("num_register_tokens", 0),
    }


def _transformers_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "embeddings/cls_token": "embeddings.cls_token",
        "embeddings/register_tokens": "embeddings.register_tokens",
        "embeddings/patch_embeddings/projection": "embeddings.patch_embeddings.projection",
        _POSITIONS: "embeddings.position_embeddings",
        _INTERPOLATED: "embeddings.position_embeddings",
        "layernorm": "layernorm",
    }
    first, second = ("weights_in", "weights_out") if arguments["use_swiglu_ffn"] else ("fc1", "fc2")
    for index in range(arguments["num_layers"]):
        ours, theirs = f"encoder/layers_{index}", f"encoder.layer.{index}"
        sources |= {
            f"{ours}/norm1": f"{theirs}.norm1",
            f"{ours}/attention/attention/query": f"{theirs}.attention.attention.query",
            f"{ours}/attention/attention/key": f"{theirs}.attention.attention.key",
            f"{ours}/attention/attention/value": f"{theirs}.attention.attention.value",
            f"{ours}/attention/attention/attention_output": f"{theirs}.attention.output.dense",
            f"{ours}/layer_scale1/lambda1": f"{theirs}.layer_scale1.lambda1",
            f"{ours}/norm2": f"{theirs}.norm2",
            f"{ours}/mlp/{first}": f"{theirs}.mlp.{first}",
            f"{ours}/mlp/{second}": f"{theirs}.mlp.{second}",
            f"{ours}/layer_scale2/lambda1": f"{theirs}.layer_scale2.lambda1",
        }
    return sources


# timm keeps no sizes in config.json but the architecture's name. Its models with registers add the class token's
# position to the token itself, which is not loaded here.
_TIMM_SIZES = {
    "vit_small_patch14_dinov2": _SMALL,
    "vit_base_patch14_dinov2": _BASE,
    "vit_large_patch14_dinov2": _LARGE,
    "vit_giant_patch14_dinov2": _GIANT,
}


def _from_timm(config: Mapping[str, Any]) -> Arguments:
    timm_changes(config, pooling=["token"])
    return _TIMM_SIZES[config["architecture"]]


def _timm_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "embeddings/cls_token": "cls_token",
        "embeddings/patch_embeddings/projection": "patch_embed.proj",
        _POSITIONS: "pos_embed",
        _INTERPOLATED: "pos_embed",
        "layernorm": "norm",
    }
    first, second = ("weights_in", "weights_out") if arguments["use_swiglu_ffn"] else ("fc1", "fc2")
    for index in range(arguments["num_layers"]):
        ours, theirs = f"encoder/layers_{index}", f"blocks.{index}"
        sources |= {
            f"{ours}/norm1": f"{theirs}.norm1",
            f"{ours}/attention/attention/query": part(f"{theirs}.attn.qkv", 0, 3),
            f"{ours}/attention/attention/key": part(f"{theirs}.attn.qkv", 1, 3),
            f"{ours}/attention/attention/value": part(f"{theirs}.attn.qkv", 2, 3),
            f"{ours}/attention/attention/attention_output": f"{theirs}.attn.proj",
            f"{ours}/layer_scale1/lambda1": f"{theirs}.ls1.gamma",
            f"{ours}/norm2": f"{theirs}.norm2",
            f"{ours}/mlp/{first}": f"{theirs}.mlp.fc1",
            f"{ours}/mlp/{second}": f"{theirs}.mlp.fc2",
            f"{ours}/layer_scale2/lambda1": f"{theirs}.ls2.gamma",
        }
    return sources


def _transformers(model_type: str, antialias: bool) -> Layout:
    """The two differ in how they resize positions."""
    return Layout(
        library="transformers",
        recognises=lambda config: config.get("model_type") == model_type,
        arguments=_from_transformers,
        sources=_transformers_sources,
        prefixes=("", f"{model_type}."),
        unused=(rf"({model_type}\.)?embeddings\.mask_token", r"classifier\..*"),
        antialias=antialias,
    )


_KEPT = (*_SMALL, "num_register_tokens")


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in _KEPT}


DINOV2 = VisionFamily(
    build=build,
    sizes={
        "dinov2_toy": _size(2, 2, 32, patch_size=16),
        "dinov2_small": _SMALL,
        "dinov2_base": _BASE,
        "dinov2_large": _LARGE,
        "dinov2_giant": _GIANT,
    },
    blocks=_blocks,
    layouts=(
        _transformers("dinov2", antialias=False),
        _transformers("dinov2_with_registers", antialias=True),
        Layout(
            library="timm",
            recognises=lambda config: config.get("architecture") in _TIMM_SIZES,
            arguments=_from_timm,
            sources=_timm_sources,
            unused=(r"head\..*",),
            antialias=True,
        ),
    ),
    pixels=Pixels(crop=224 / 256, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    grids=lambda arguments: {_POSITIONS: 1, _INTERPOLATED: 1},
    preset=VisionPreset(
        # A name would stand before the names of all layers.
        lambda handle: keras_nlp.models.DINOV2Backbone.from_preset(handle, name=None),
        _preset_arguments,
        keras_nlp.layers.DINOV2ImageConverter,
    ),
)
