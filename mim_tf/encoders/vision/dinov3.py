"""DINOv3's vision transformers: keras-nlp's backbone, loaded from transformers' and timm's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, part, require, require_whole, timm_changes
from mim_tf.encoders.family import Arguments, VisionFamily, VisionPreset
from mim_tf.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels


def build(*, image_size: int, dtype: str, **arguments: Any) -> keras.Model:
    """Pooled is the class token after the last normalisation, as in DINOv2, in Meta's own code and in transformers.

    It is so with timm's files too, although their `global_pool` asks for the mean of the patches unless it was changed.

    Positions are rotations of queries and keys by where a patch lies between -1 and 1, at any image size. The random
    shifts and scales of these places belong to the pre-training and are left out.

    Reference: Siméoni et al., DINOv3 (arXiv 2508.10104).
    """
    dino = keras_nlp.models.DINOV3Backbone(
        image_shape=(image_size, image_size, 3), use_mask_token=False, dtype=dtype, **arguments
    )
    tokens = dino.output  # [batch, class token, registers and patches, hidden]
    return keras.Model(dino.inputs[0], {"sequence": tokens, "pooled": tokens[:, 0]}, name="dinov3")


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return model.get_layer("encoder").layers


def _size(num_layers: int, num_heads: int, hidden_dim: int, gated: bool = False) -> Arguments:
    return {
        "patch_size": 16,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
        "hidden_activation": "silu" if gated else "gelu",
        "use_gated_mlp": gated,
        "use_key_bias": False,
    }


_SIZES = {
    "small": _size(12, 6, 384),
    "small_plus": _size(12, 6, 384, gated=True),
    "base": _size(12, 12, 768),
    "large": _size(24, 16, 1024),
    "huge_plus": _size(32, 20, 1280, gated=True),
}
_ACTIVATIONS = ("gelu", "silu")


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    if config["hidden_act"] not in _ACTIVATIONS:
        raise ValueError(f"`hidden_act` must be one of {', '.join(_ACTIVATIONS)}. Received: {config['hidden_act']!r}.")
    require(config, {"num_channels": 3})
    require_whole(config, "patch_size", "image_size")
    return {
        "patch_size": config["patch_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "hidden_dim": config["hidden_size"],
        "intermediate_dim": config["intermediate_size"],
        "hidden_activation": config["hidden_act"],
        "use_gated_mlp": config["use_gated_mlp"],
        "use_query_bias": config["query_bias"],
        "use_key_bias": config["key_bias"],
        "use_value_bias": config["value_bias"],
        "use_proj_bias": config["proj_bias"],
        "use_mlp_bias": config["mlp_bias"],
        "num_register_tokens": config["num_register_tokens"],
        "layer_norm_eps": config["layer_norm_eps"],
        "rope_theta": config["rope_theta"],
    }


def _transformers_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "embeddings/cls_token": "embeddings.cls_token",
        "embeddings/register_tokens": "embeddings.register_tokens",
        "embeddings/patch_embeddings/projection": "embeddings.patch_embeddings",
        "layernorm": "norm",
    }
    for index in range(arguments["num_layers"]):
        ours, theirs = f"encoder/layers_{index}", f"layer.{index}"
        for module in ("norm1", "norm2", *_ATTENTION, *_MLP):
            sources[f"{ours}/{module}"] = f"{theirs}.{module.replace('/', '.')}"
        for scale in ("layer_scale1", "layer_scale2"):
            sources[f"{ours}/{scale}/lambda1"] = f"{theirs}.{scale}.lambda1"
    return sources


_ATTENTION = ("attention/q_proj", "attention/k_proj", "attention/v_proj", "attention/o_proj")
_MLP = ("mlp/gate_proj", "mlp/up_proj", "mlp/down_proj")

# timm keeps no sizes in config.json but the architecture's name. It leaves out the queries' and values' biases, all of
# which are zero in what was published.
_TIMM_SIZES = {
    f"vit_{name}_patch16_dinov3": size | {"use_query_bias": False, "use_value_bias": False}
    for name, size in _SIZES.items()
}


def _from_timm(config: Mapping[str, Any]) -> Arguments:
    timm_changes(config, pooling=["avg", "token"])  # of the same weights, of which `build` says what is pooled
    return _TIMM_SIZES[config["architecture"]]


def _timm_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "embeddings/cls_token": "cls_token",
        "embeddings/register_tokens": "reg_token",
        "embeddings/patch_embeddings/projection": "patch_embed.proj",
        "layernorm": "norm",
    }
    for index in range(arguments["num_layers"]):
        ours, theirs = f"encoder/layers_{index}", f"blocks.{index}"
        sources |= {
            f"{ours}/norm1": f"{theirs}.norm1",
            f"{ours}/attention/q_proj": part(f"{theirs}.attn.qkv", 0, 3),
            f"{ours}/attention/k_proj": part(f"{theirs}.attn.qkv", 1, 3),
            f"{ours}/attention/v_proj": part(f"{theirs}.attn.qkv", 2, 3),
            f"{ours}/attention/o_proj": f"{theirs}.attn.proj",
            f"{ours}/layer_scale1/lambda1": f"{theirs}.gamma_1",
            f"{ours}/norm2": f"{theirs}.norm2",
            f"{ours}/mlp/gate_proj": f"{theirs}.mlp.fc1_g",
            f"{ours}/mlp/up_proj": f"{theirs}.mlp.{'fc1_x' if arguments['use_gated_mlp'] else 'fc1'}",
            f"{ours}/mlp/down_proj": f"{theirs}.mlp.fc2",
            f"{ours}/layer_scale2/lambda1": f"{theirs}.gamma_2",
        }
    return sources


_KEPT = (
    *("patch_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "hidden_activation", "use_gated_mlp"),
    *("use_query_bias", "use_key_bias", "use_value_bias", "use_proj_bias", "use_mlp_bias"),
    *("num_register_tokens", "layer_norm_eps", "rope_theta"),
)


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in _KEPT}


DINOV3 = VisionFamily(
    build=build,
    sizes={"dinov3_toy": _size(2, 2, 32)} | {f"dinov3_{size}": arguments for size, arguments in _SIZES.items()},
    blocks=_blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "dinov3_vit",
            arguments=_from_transformers,
            sources=_transformers_sources,
            unused=(r"embeddings\.mask_token", r"embeddings\.register_tokens"),  # without registers it is empty
        ),
        Layout(
            library="timm",
            recognises=lambda config: config.get("architecture") in _TIMM_SIZES,
            arguments=_from_timm,
            sources=_timm_sources,
            unused=(r"head\..*",),
        ),
    ),
    pixels=Pixels(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    preset=VisionPreset(
        # A name would stand before the names of all layers.
        lambda handle: keras_nlp.models.DINOV3Backbone.from_preset(handle, name=None),
        _preset_arguments,
        keras_nlp.layers.DINOV3ImageConverter,
    ),
)
