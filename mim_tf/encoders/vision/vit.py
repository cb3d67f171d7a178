"""ViT: keras-nlp's backbone, loaded from transformers' and timm's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, part, require, require_whole, timm_changes
from mim_tf.encoders.family import Arguments, VisionFamily, VisionPreset

_EMBEDDING, _ENCODER = "vit_patching_and_embedding", "vit_encoder"


def build(*, image_size: int, dtype: str, **arguments: Any) -> keras.Model:
    """Pooled is the class token, or where there is none the mean of the patches.

    Reference: Dosovitskiy et al., An Image is Worth 16x16 Words (arXiv 2010.11929); the mean in place of a class token:
    Beyer et al., Better plain ViT baselines (arXiv 2205.01580).
    """
    vit = keras_nlp.models.ViTBackbone(image_shape=(image_size, image_size, 3), dtype=dtype, **arguments)
    tokens = vit.output  # [batch, (class token and) patches, hidden]
    pooled = tokens[:, 0] if vit.use_class_token else keras.ops.mean(tokens, axis=1)
    return keras.Model(vit.input, {"sequence": tokens, "pooled": pooled}, name="vit")


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return model.get_layer(_ENCODER).encoder_layers


def _size(patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, class_token: bool = True) -> Arguments:
    return {
        "patch_size": patch_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "mlp_dim": (4 if class_token else 2) * hidden_dim,
        "use_class_token": class_token,
    }


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    # keras-nlp's `use_mha_bias` is not `qkv_bias`: without it there is no bias after the heads either.
    require(config, {"hidden_act": "gelu", "num_channels": 3, "qkv_bias": True})
    require_whole(config, "patch_size", "image_size")
    return {
        "patch_size": config["patch_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "mlp_dim": config["intermediate_size"],
        "layer_norm_epsilon": config["layer_norm_eps"],
    }


def _transformers_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        f"{_EMBEDDING}/class_token": "embeddings.cls_token",
        f"{_EMBEDDING}/position_embedding/embeddings": "embeddings.position_embeddings",
        f"{_EMBEDDING}/patch_embedding": "embeddings.patch_embeddings.projection",
        f"{_ENCODER}/ln": "layernorm",
    }
    for index in range(arguments["num_layers"]):
        ours, theirs = f"{_ENCODER}/transformer_block_{index + 1}", f"encoder.layer.{index}"
        sources |= {
            f"{ours}/ln_1": f"{theirs}.layernorm_before",
            f"{ours}/mha/query": f"{theirs}.attention.attention.query",
            f"{ours}/mha/key": f"{theirs}.attention.attention.key",
            f"{ours}/mha/value": f"{theirs}.attention.attention.value",
            f"{ours}/mha/attention_output": f"{theirs}.attention.output.dense",
            f"{ours}/ln_2": f"{theirs}.layernorm_after",
            f"{ours}/mlp/dense_1": f"{theirs}.intermediate.dense",
            f"{ours}/mlp/dense_2": f"{theirs}.output.dense",
        }
    return sources


# timm keeps no sizes in config.json but the architecture's name: the name is the size.
_SIZES = {"tiny": (12, 3, 192), "small": (12, 6, 384), "base": (12, 12, 768), "large": (24, 16, 1024)}
_TIMM_SIZES = {
    f"vit_{name}_patch{patch_size}_{image_size}": _size(patch_size, *size) | {"layer_norm_epsilon": 1e-6}
    for name, size in _SIZES.items()
    for patch_size in (8, 14, 16, 32)
    for image_size in (224, 384)
}


def _from_timm(config: Mapping[str, Any]) -> Arguments:
    timm_changes(config, pooling=["token"])
    return _TIMM_SIZES[config["architecture"]]


def _timm_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        f"{_EMBEDDING}/class_token": "cls_token",
        f"{_EMBEDDING}/position_embedding/embeddings": "pos_embed",
        f"{_EMBEDDING}/patch_embedding": "patch_embed.proj",
        f"{_ENCODER}/ln": "norm",
    }
    for index in range(arguments["num_layers"]):
        ours, theirs = f"{_ENCODER}/transformer_block_{index + 1}", f"blocks.{index}"
        sources |= {
            f"{ours}/ln_1": f"{theirs}.norm1",
            f"{ours}/mha/query": part(f"{theirs}.attn.qkv", 0, 3),
            f"{ours}/mha/key": part(f"{theirs}.attn.qkv", 1, 3),
            f"{ours}/mha/value": part(f"{theirs}.attn.qkv", 2, 3),
            f"{ours}/mha/attention_output": f"{theirs}.attn.proj",
            f"{ours}/ln_2": f"{theirs}.norm2",
            f"{ours}/mlp/dense_1": f"{theirs}.mlp.fc1",
            f"{ours}/mlp/dense_2": f"{theirs}.mlp.fc2",
        }
    return sources


_KEPT = (
    *("patch_size", "num_layers", "num_heads", "hidden_dim", "mlp_dim", "layer_norm_epsilon"),
    *("use_mha_bias", "use_mlp_bias", "use_class_token", "use_patch_bias"),
)


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    height, width = config["patch_size"]
    if height != width:
        raise ValueError(f"`patch_size` must be that of a square. Received: {height} by {width} pixels.")
    return {key: config[key] for key in _KEPT} | {"patch_size": height}


VIT = VisionFamily(
    build=build,
    sizes={
        "vit_toy": _size(16, 2, 2, 32, class_token=False),
        "vit_mini": _size(16, 3, 4, 128, class_token=False),
        "vit_mini_patch8": _size(8, 4, 4, 128, class_token=False),
        "vit_midi_patch8": _size(8, 6, 6, 192, class_token=False),
        **{f"vit_{name}": _size(16, *size) for name, size in _SIZES.items()},
    },
    blocks=_blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "vit",
            arguments=_from_transformers,
            sources=_transformers_sources,
            prefixes=("", "vit."),
            unused=(r"classifier\..*", r"(vit\.)?pooler\..*", r"decoder\..*", r"(vit\.)?embeddings\.mask_token"),
        ),
        Layout(
            library="timm",
            recognises=lambda config: config.get("architecture") in _TIMM_SIZES,
            arguments=_from_timm,
            sources=_timm_sources,
            unused=(r"head\..*",),
            antialias=True,
        ),
    ),
    grids=lambda arguments: {
        f"{_EMBEDDING}/position_embedding/embeddings": int(arguments.get("use_class_token", True))
    },
    preset=VisionPreset(
        keras_nlp.models.ViTBackbone.from_preset, _preset_arguments, keras_nlp.layers.ViTImageConverter
    ),
)
