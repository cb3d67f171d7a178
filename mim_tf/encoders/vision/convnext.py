"""ConvNeXt and ConvNeXt V2: a backbone of our own, loaded from transformers' and timm's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras

from mim_tf.encoders.checkpoints import Layout, Source, require, require_whole, timm_changes
from mim_tf.encoders.family import Arguments, VisionFamily
from mim_tf.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels
from mim_tf.encoders.vision.convnext_layers import EPSILON, ChannelNorm, ConvNeXtBlock, Downsampling, initial


def build(
    *,
    image_size: int,
    dtype: str,
    depths: Sequence[int],
    widths: Sequence[int],
    response_norm: bool,
    stem_size: int,
    pooled_epsilon: float = EPSILON,
) -> keras.Model:
    """Pooled is the mean of the last map's places, then a layer normalisation: what the authors' classifier takes.

    Args:
        image_size: pixels; what fills no square of the stem, or of the downsampling, is left out at the far edge.
        dtype: policy of all layers.
        depths: blocks of each stage.
        widths: channels of each stage.
        response_norm: version 2, with global response normalisation in place of LayerScale.
        stem_size: side of the squares that become the first stage's places, pixels.
        pooled_epsilon: of the last normalisation.

    Raises:
        ValueError: an image so small that nothing would be left of it.

    Reference: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545); Woo et al., ConvNeXt V2 (arXiv 2301.00808).
    """
    smallest = stem_size * 2 ** (len(depths) - 1)
    if image_size < smallest:
        raise ValueError(f"`image_size` must be at least {smallest}. Received: {image_size}.")
    images = keras.Input((image_size, image_size, 3), name="images")
    stem = keras.layers.Conv2D(widths[0], stem_size, stem_size, kernel_initializer=initial(), name="stem", dtype=dtype)
    maps = ChannelNorm(name="stem_norm", dtype=dtype)(stem(images))
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if stage > 0:
            maps = Downsampling(width, name=f"stage_{stage}_downsampling", dtype=dtype)(maps)
        for index in range(depth):
            block = ConvNeXtBlock(response_norm=response_norm, name=f"stage_{stage}_block_{index}", dtype=dtype)
            maps = block(maps)
    mean = keras.layers.GlobalAveragePooling2D(name="mean", dtype=dtype)(maps)
    pooled = ChannelNorm(epsilon=pooled_epsilon, name="pooled_norm", dtype=dtype)(mean)
    return keras.Model(images, {"sequence": maps, "pooled": pooled}, name="convnext")


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    """The residual blocks, and between stages the downsampling as a block of its own."""
    return [layer for layer in model.layers if isinstance(layer, ConvNeXtBlock | Downsampling)]


def _size(depths: Sequence[int], width: int, response_norm: bool = False) -> Arguments:
    return {
        "depths": list(depths),
        "widths": [width * 2**stage for stage in range(len(depths))],
        "response_norm": response_norm,
        "stem_size": 4,
    }


_SIZES = {
    "convnext_toy": _size((1, 1), 8),
    "convnext_tiny": _size((3, 3, 9, 3), 96),
    "convnext_small": _size((3, 3, 27, 3), 96),
    "convnext_base": _size((3, 3, 27, 3), 128),
    "convnext_large": _size((3, 3, 27, 3), 192),
    "convnext_xlarge": _size((3, 3, 27, 3), 256),
}
_SIZES_V2 = {
    "convnextv2_toy": _size((1, 1), 8, response_norm=True),
    "convnextv2_atto": _size((2, 2, 6, 2), 40, response_norm=True),
    "convnextv2_femto": _size((2, 2, 6, 2), 48, response_norm=True),
    "convnextv2_pico": _size((2, 2, 6, 2), 64, response_norm=True),
    "convnextv2_nano": _size((2, 2, 8, 2), 80, response_norm=True),
    "convnextv2_tiny": _size((3, 3, 9, 3), 96, response_norm=True),
    "convnextv2_base": _size((3, 3, 27, 3), 128, response_norm=True),
    "convnextv2_large": _size((3, 3, 27, 3), 192, response_norm=True),
    "convnextv2_huge": _size((3, 3, 27, 3), 352, response_norm=True),
}


def _from_transformers(response_norm: bool, config: Mapping[str, Any]) -> Arguments:
    depths, widths = list(config["depths"]), list(config["hidden_sizes"])
    require(config, {"hidden_act": "gelu", "num_channels": 3, "num_stages": len(depths)})
    require_whole(config, "patch_size", "image_size")
    scale = config.get("layer_scale_init_value", EPSILON)
    if not (response_norm or scale > 0):
        raise ValueError(f"`layer_scale_init_value` must be positive. Received: {scale}.")
    return {
        "depths": depths,
        "widths": widths,
        "response_norm": response_norm,
        "stem_size": config["patch_size"],
        "pooled_epsilon": config["layer_norm_eps"],
    }


def _from_timm(sizes: Mapping[str, Arguments], config: Mapping[str, Any]) -> Arguments:
    """timm keeps no sizes in config.json but the architecture's name, which is ours."""
    timm_changes(config, pooling=["avg"], without_effect=["conv_mlp", "head_init_scale"])
    return sizes[config["architecture"]]


_STAGE, _BLOCK = "encoder.stages.{stage}", "encoder.stages.{stage}.layers.{block}"
_TRANSFORMERS_NAMES = {
    "stem": "embeddings.patch_embeddings",
    "stem_norm": "embeddings.layernorm",
    "stage_{stage}_downsampling/norm": f"{_STAGE}.downsampling_layer.0",
    "stage_{stage}_downsampling/convolution": f"{_STAGE}.downsampling_layer.1",
    "stage_{stage}_block_{block}/depthwise": f"{_BLOCK}.dwconv",
    "stage_{stage}_block_{block}/norm": f"{_BLOCK}.layernorm",
    "stage_{stage}_block_{block}/expansion": f"{_BLOCK}.pwconv1",
    "stage_{stage}_block_{block}/response": f"{_BLOCK}.grn",
    "stage_{stage}_block_{block}/projection": f"{_BLOCK}.pwconv2",
    "stage_{stage}_block_{block}/layer_scale": f"{_BLOCK}.layer_scale_parameter",
    "pooled_norm": "layernorm",
}
_TIMM_NAMES = {
    "stem": "stem.0",
    "stem_norm": "stem.1",
    "stage_{stage}_downsampling/norm": "stages.{stage}.downsample.0",
    "stage_{stage}_downsampling/convolution": "stages.{stage}.downsample.1",
    "stage_{stage}_block_{block}/depthwise": "stages.{stage}.blocks.{block}.conv_dw",
    "stage_{stage}_block_{block}/norm": "stages.{stage}.blocks.{block}.norm",
    "stage_{stage}_block_{block}/expansion": "stages.{stage}.blocks.{block}.mlp.fc1",
    "stage_{stage}_block_{block}/response": "stages.{stage}.blocks.{block}.mlp.grn",
    "stage_{stage}_block_{block}/projection": "stages.{stage}.blocks.{block}.mlp.fc2",
    "stage_{stage}_block_{block}/layer_scale": "stages.{stage}.blocks.{block}.gamma",
    "pooled_norm": "head.norm",
}


def _sources(names: Mapping[str, str], arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    return {
        ours.format(stage=stage, block=block): theirs.format(stage=stage, block=block)
        for stage, depth in enumerate(arguments["depths"])
        for block in range(depth)
        for ours, theirs in names.items()
    }


def _family(model_type: str, sizes: Mapping[str, Arguments], response_norm: bool) -> VisionFamily:
    transformers = Layout(
        library="transformers",
        recognises=lambda config: config.get("model_type") == model_type,
        arguments=partial(_from_transformers, response_norm),
        sources=partial(_sources, _TRANSFORMERS_NAMES),
        prefixes=("", f"{model_type}."),
        unused=(r"classifier\..*",),
    )
    timm = Layout(
        library="timm",
        recognises=lambda config: config.get("architecture") in sizes,
        arguments=partial(_from_timm, sizes),
        sources=partial(_sources, _TIMM_NAMES),
        unused=(r"head\.fc\..*",),
    )
    return VisionFamily(
        build=build,
        sizes=sizes,
        blocks=_blocks,
        layouts=(transformers, timm),
        pixels=Pixels(crop=0.875, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD),
        convolutional=True,
    )


CONVNEXT = _family("convnext", _SIZES, response_norm=False)
CONVNEXTV2 = _family("convnextv2", _SIZES_V2, response_norm=True)
