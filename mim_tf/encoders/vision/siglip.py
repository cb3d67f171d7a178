"""SigLIP's and SigLIP 2's vision towers: keras-nlp's, loaded from transformers' checkpoints of one or both towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, part, require, require_whole
from mim_tf.encoders.family import Arguments, VisionFamily, VisionPreset
from mim_tf.encoders.pixels import Pixels
from mim_tf.encoders.vision.patch_embedding import PatchEmbedding


def build(*, image_size: int, dtype: str, **arguments: Any) -> keras.Model:
    """Pooled by attention: a learned query, the probe, looks at all patches, and an MLP follows.

    Reference: Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv 2303.15343); Tschannen et al., SigLIP 2
    (arXiv 2502.14786), its models of fixed resolution; the pooling: Zhai et al., Scaling Vision Transformers
    (arXiv 2106.04560), section 2.2.
    """
    tower = _tower(image_size, dtype, arguments)
    images = keras.Input((image_size, image_size, 3), name="images")
    tokens = PatchEmbedding(arguments["hidden_dim"], arguments["patch_size"], dtype=dtype, name="embedding")(images)
    for block in tower.encoder_layers:
        tokens = block(tokens)
    tokens = tower.post_layer_norm(tokens)  # [batch, patches, hidden]
    return keras.Model(images, {"sequence": tokens, "pooled": tower.head(tokens)}, name="siglip")


def _tower(image_size: int, dtype: str, arguments: Mapping[str, Any]) -> keras.Model:
    tower = keras_nlp.models.SigLIPVisionEncoder(image_shape=(image_size, image_size, 3), dtype=dtype, **arguments)
    # keras-nlp gives the probe no name: it would have a number that counts up in the process.
    tower.head.probe._path = "head/probe"
    return tower


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return [layer for layer in model.layers if layer.name.startswith("encoder_block_")]


def _size(patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, intermediate_dim: int) -> Arguments:
    return {
        "patch_size": patch_size,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "hidden_dim": hidden_dim,
        "intermediate_dim": intermediate_dim,
    }


# What transformers leaves out of the configuration of two towers.
_DEFAULTS = {
    "patch_size": 16,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "hidden_act": "gelu_pytorch_tanh",
}
# What keras-nlp has no argument for.
_FIXED = {"layer_norm_eps": 1e-6, "num_channels": 3, "vision_use_head": True}
_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_approximate"}


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    vision = _DEFAULTS | config.get("vision_config", config)
    require(vision, _FIXED)
    require_whole(vision, "patch_size", "image_size")
    if vision["hidden_act"] not in _ACTIVATIONS:
        raise ValueError(f"`hidden_act` must be one of {', '.join(_ACTIVATIONS)}. Received: {vision['hidden_act']!r}.")
    return {
        "patch_size": vision["patch_size"],
        "num_layers": vision["num_hidden_layers"],
        "num_heads": vision["num_attention_heads"],
        "hidden_dim": vision["hidden_size"],
        "intermediate_dim": vision["intermediate_size"],
        "intermediate_activation": _ACTIVATIONS[vision["hidden_act"]],
    }


def _sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "embedding/patch_embedding": "embeddings.patch_embedding",
        "embedding/position_embedding": "embeddings.position_embedding",
        "post_layer_norm": "post_layernorm",
        "head/probe": "head.probe",
        "head/attention/attention_output": "head.attention.out_proj",
        "head/layernorm": "head.layernorm",
        "head/mlp/fc1": "head.mlp.fc1",
        "head/mlp/fc2": "head.mlp.fc2",
    }
    for index, name in enumerate(("query", "key", "value")):
        sources |= {
            f"head/attention/{name}/kernel": part("head.attention.in_proj_weight", index, 3),
            f"head/attention/{name}/bias": part("head.attention.in_proj_bias", index, 3),
        }
    for index in range(arguments["num_layers"]):
        ours, theirs = f"encoder_block_{index}", f"encoder.layers.{index}"
        sources |= {
            f"{ours}/layer_norm1": f"{theirs}.layer_norm1",
            f"{ours}/self_attn/query": f"{theirs}.self_attn.q_proj",
            f"{ours}/self_attn/key": f"{theirs}.self_attn.k_proj",
            f"{ours}/self_attn/value": f"{theirs}.self_attn.v_proj",
            f"{ours}/self_attn/attention_output": f"{theirs}.self_attn.out_proj",
            f"{ours}/layer_norm2": f"{theirs}.layer_norm2",
            f"{ours}/mlp/fc1": f"{theirs}.mlp.fc1",
            f"{ours}/mlp/fc2": f"{theirs}.mlp.fc2",
        }
    return sources


_KEPT = ("patch_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "intermediate_activation")


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    return {key: config[key] for key in _KEPT}


def _preset_backbone(handle: str) -> keras.Model:
    """The vision tower of both, built again without a name, which stands before the names of all its layers."""
    saved = keras_nlp.models.SigLIPBackbone.from_preset(handle).vision_encoder
    tower = _tower(saved.image_shape[0], "float32", _preset_arguments(saved))
    tower.set_weights(saved.get_weights())
    return tower


SIGLIP = VisionFamily(
    build=build,
    sizes={
        "siglip_toy": _size(16, 2, 2, 32, 64),
        "siglip_base": _size(16, 12, 12, 768, 3072),
        "siglip_large": _size(16, 24, 16, 1024, 4096),
        "siglip_so400m": _size(14, 27, 16, 1152, 4304),
    },
    blocks=_blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") in ("siglip", "siglip_vision_model"),
            arguments=_from_transformers,
            sources=_sources,
            prefixes=("vision_model.", ""),
            unused=(r"text_model\..*", r"logit_scale", r"logit_bias", r"classifier\..*"),
        ),
    ),
    pixels=Pixels(interpolation="bicubic"),
    grids=lambda arguments: {"embedding/position_embedding/embeddings": 0},
    whole_patches=False,
    preset=VisionPreset(_preset_backbone, _preset_arguments, keras_nlp.layers.SigLIPImageConverter),
)
