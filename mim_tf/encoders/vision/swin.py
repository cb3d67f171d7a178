"""Swin: keras-nlp's variables in a graph of our own, loaded from transformers' and timm's checkpoints.

keras-nlp's own graph holds for the image sizes of its presets only. Where a map is no multiple of the window it fills
it up after the shift and masks other places than the authors do; where the map is smaller than the window it fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import keras_nlp
from keras import layers, ops

from mim_tf.encoders.checkpoints import Layout, Source, joined, require, require_whole, timm_changes
from mim_tf.encoders.family import Arguments, VisionFamily, VisionPreset
from mim_tf.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels
from mim_tf.encoders.vision.shifted_window_attention import ShiftedWindowAttention

_EPSILON = 1e-5


def build(*, image_size: int, dtype: str, **arguments: Any) -> keras.Model:
    """Pooled is the mean of the last stage's places after the final norm; the sequence is these, row by row.

    Reference: Liu et al., Swin Transformer (arXiv 2103.14030), section 3; the global average pooling is in its
    appendix A2.1.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    maps = _patch_embedding(images, arguments["patch_size"], arguments["embed_dim"], dtype)(images)
    for stage, block in _places(arguments):
        maps = _block(maps, stage, block, arguments, dtype)(maps)
    maps = _norm("norm", dtype)(maps)
    _, height, width, hidden = maps.shape
    tokens = ops.reshape(maps, (-1, height * width, hidden))
    return keras.Model(images, {"sequence": tokens, "pooled": ops.mean(tokens, axis=1)}, name="swin")


def _patch_embedding(images: keras.KerasTensor, patch_size: int, dim: int, dtype: str) -> keras.Model:
    inputs = keras.Input(images.shape[1:])
    with keras.name_scope("patch_embedding"):
        patches = layers.Conv2D(dim, patch_size, patch_size, dtype=dtype, name="conv_projection")(inputs)
        return keras.Model(inputs, _norm("norm", dtype)(patches), name="patch_embedding")


def _block(maps: keras.KerasTensor, stage: int, block: int, arguments: Mapping[str, Any], dtype: str) -> keras.Model:
    """A block, with keras-nlp's paths for its variables; a stage's first begins with merging the last one's places."""
    inputs = maps = keras.Input(maps.shape[1:], dtype=maps.dtype)
    if stage and not block:
        with keras.name_scope(f"stage_{stage - 1}"), keras.name_scope("downsample"):
            maps = _merge(maps, dtype)
    attention = ShiftedWindowAttention(
        arguments["num_heads"][stage],
        arguments["window_size"],
        shifted=block % 2 == 1,
        qkv_bias=arguments["qkv_bias"],
        dtype=dtype,
        name="attn",
    )
    with keras.name_scope(f"stage_{stage}"), keras.name_scope(f"blocks_{block}"):
        maps = maps + attention(_norm("norm1", dtype)(maps))
        maps = maps + _mlp(_norm("norm2", dtype)(maps), arguments["mlp_ratio"], dtype)
    return keras.Model(inputs, maps, name=f"stage_{stage}_block_{block}")


def _merge(maps: keras.KerasTensor, dtype: str) -> keras.KerasTensor:
    """`[batch, height, width, dim]` to `[batch, height / 2, width / 2, 2 dim]`, zeros added where a side is odd."""
    _, height, width, dim = maps.shape
    maps = layers.ZeroPadding2D(((0, height % 2), (0, width % 2)), dtype=dtype, name="padding")(maps)
    maps = ops.reshape(maps, (-1, (height + 1) // 2, 2, (width + 1) // 2, 2, dim))
    maps = ops.transpose(maps, (0, 1, 3, 4, 2, 5))  # of four places the left two come first
    maps = ops.reshape(maps, (-1, (height + 1) // 2, (width + 1) // 2, 4 * dim))
    return layers.Dense(2 * dim, use_bias=False, dtype=dtype, name="reduction")(_norm("norm", dtype)(maps))


def _mlp(maps: keras.KerasTensor, ratio: float, dtype: str) -> keras.KerasTensor:
    dim = maps.shape[-1]
    with keras.name_scope("mlp"):
        hidden = layers.Dense(int(ratio * dim), activation="gelu", dtype=dtype, name="fc1")(maps)
        return layers.Dense(dim, dtype=dtype, name="fc2")(hidden)


def _norm(name: str, dtype: str) -> keras.Layer:
    return layers.LayerNormalization(epsilon=_EPSILON, dtype=dtype, name=name)


def _places(arguments: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Stage and block of every block, from input to output."""
    for stage, blocks in enumerate(arguments["depths"]):
        for block in range(blocks):
            yield stage, block


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return [layer for layer in model.layers if re.fullmatch(r"stage_\d+_block_\d+", layer.name)]


def _size(embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window_size: int = 7) -> Arguments:
    return {
        "patch_size": 4,
        "embed_dim": embed_dim,
        "depths": list(depths),
        "num_heads": list(num_heads),
        "window_size": window_size,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
    }


_SIZES = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}
# timm keeps no sizes in config.json but the architecture's name: the name is the size.
_TIMM_SIZES = {
    f"swin_{name}_patch4_window{window}_{image_size}": _size(*size, window)
    for name, size in _SIZES.items()
    for window, image_size in ((7, 224), (12, 384))
}
_KEPT = tuple(_size(96, (), ()))
_FIXED = {"hidden_act": "gelu", "num_channels": 3, "use_absolute_embeddings": False, "layer_norm_eps": _EPSILON}


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    require(config, _FIXED)
    require_whole(config, "patch_size", "image_size", "window_size")
    depths, num_heads = config["depths"], config["num_heads"]
    if len(num_heads) != len(depths):
        raise ValueError(f"`num_heads` must be as many as `depths`, {len(depths)}. Received: {num_heads}.")
    return {key: config[key] for key in _KEPT}


def _transformers_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "patch_embedding/conv_projection": "embeddings.patch_embeddings.projection",
        "patch_embedding/norm": "embeddings.norm",
        "norm": "layernorm",
    }
    for stage, block in _places(arguments):
        ours, theirs = f"stage_{stage}/blocks_{block}", f"encoder.layers.{stage}.blocks.{block}"
        attention = f"{theirs}.attention.self"
        sources |= {
            f"{ours}/norm1": f"{theirs}.layernorm_before",
            f"{ours}/attn/relative_position_bias_table": f"{attention}.relative_position_bias_table",
            f"{ours}/attn/attention_qkv": joined(*(f"{attention}.{part}" for part in ("query", "key", "value"))),
            f"{ours}/attn/attention_projection": f"{theirs}.attention.output.dense",
            f"{ours}/norm2": f"{theirs}.layernorm_after",
            f"{ours}/mlp/fc1": f"{theirs}.intermediate.dense",
            f"{ours}/mlp/fc2": f"{theirs}.output.dense",
            f"stage_{stage}/downsample/norm": f"encoder.layers.{stage}.downsample.norm",
            f"stage_{stage}/downsample/reduction": f"encoder.layers.{stage}.downsample.reduction",
        }
    return sources


def _from_timm(config: Mapping[str, Any]) -> Arguments:
    timm_changes(config, pooling=["avg"])
    return _TIMM_SIZES[config["architecture"]]


def _timm_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        "patch_embedding/conv_projection": "patch_embed.proj",
        "patch_embedding/norm": "patch_embed.norm",
        "norm": "norm",
    }
    for stage, block in _places(arguments):
        ours, theirs = f"stage_{stage}/blocks_{block}", f"layers.{stage}.blocks.{block}"
        sources |= {
            f"{ours}/norm1": f"{theirs}.norm1",
            f"{ours}/attn/relative_position_bias_table": f"{theirs}.attn.relative_position_bias_table",
            f"{ours}/attn/attention_qkv": f"{theirs}.attn.qkv",
            f"{ours}/attn/attention_projection": f"{theirs}.attn.proj",
            f"{ours}/norm2": f"{theirs}.norm2",
            f"{ours}/mlp/fc1": f"{theirs}.mlp.fc1",
            f"{ours}/mlp/fc2": f"{theirs}.mlp.fc2",
            f"stage_{stage}/downsample/norm": f"layers.{stage + 1}.downsample.norm",
            f"stage_{stage}/downsample/reduction": f"layers.{stage + 1}.downsample.reduction",
        }
    return sources


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    if not config["patch_norm"]:
        raise ValueError("`weights` must be a preset with `patch_norm`. Received: one without.")
    return {key: list(value) if isinstance(value := config[key], tuple) else value for key in _KEPT}


SWIN = VisionFamily(
    build=build,
    sizes={
        "swin_toy": _size(16, (1, 2), (1, 2), window_size=4),
        **{f"swin_{name}": _size(*size) for name, size in _SIZES.items()},
    },
    blocks=_blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "swin",
            arguments=_from_transformers,
            sources=_transformers_sources,
            prefixes=("", "swin."),
            unused=(
                *(r"classifier\..*", r"decoder\..*"),
                *(r"(swin\.)?embeddings\.mask_token", r".*\.relative_position_index"),
            ),
        ),
        Layout(
            library="timm",
            recognises=lambda config: config.get("architecture") in _TIMM_SIZES,
            arguments=_from_timm,
            sources=_timm_sources,
            unused=(r"head\..*", r".*\.relative_position_index", r".*\.attn_mask"),
        ),
    ),
    pixels=Pixels(crop=0.875, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD),
    preset=VisionPreset(
        keras_nlp.models.SwinTransformerBackbone.from_preset,
        _preset_arguments,
        keras_nlp.layers.SwinTransformerImageConverter,
    ),
)
