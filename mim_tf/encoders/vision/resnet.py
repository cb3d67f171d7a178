"""ResNet: keras-nlp's backbone, loaded from transformers' and timm's checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import keras_nlp

from mim_tf.encoders.checkpoints import Layout, Source, require, timm_changes
from mim_tf.encoders.family import Arguments, VisionFamily, VisionPreset
from mim_tf.encoders.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels

_BASIC, _BOTTLENECK = "basic_block", "bottleneck_block"
_WIDTHS = [64, 128, 256, 512]  # of the 3x3 convolutions, by stack


def build(*, image_size: int, dtype: str, **arguments: Any) -> keras.Model:
    """Pooled is the mean over all places. The stride is on the 3x3 convolution of a block, known as version 1.5.

    Batch normalisation learns from the batch and updates its statistics when called with `training=True`.

    Reference: He et al., Deep Residual Learning for Image Recognition (arXiv 1512.03385); the global average pooling is
    in its section 3.3.
    """
    shape = (image_size, image_size, 3)
    resnet = keras_nlp.models.ResNetBackbone(image_shape=shape, data_format="channels_last", dtype=dtype, **arguments)
    images = keras.Input(shape, name="images")
    maps = images
    for part in _parts(resnet, arguments):
        maps = part(maps)
    pooled = keras.layers.GlobalAveragePooling2D(dtype=dtype, name="pooling")(maps)
    return keras.Model(images, {"sequence": maps, "pooled": pooled}, name="resnet")


def _parts(resnet: keras.Model, arguments: Mapping[str, Any]) -> Iterator[keras.Model]:
    """The stem and each block of keras-nlp's flat graph as models of their own, of the same layers and variables."""
    start, end = resnet.input, resnet.get_layer("pool1_pool").output
    yield keras.Model(start, end, name="stem")
    for stack, block in _places(arguments):
        start, end = end, resnet.get_layer(f"{_name(stack, block)}_out").output
        yield keras.Model(start, end, name=_name(stack, block))


def _places(arguments: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Stack and block of every block, from input to output."""
    for stack, blocks in enumerate(arguments["stackwise_num_blocks"]):
        for block in range(blocks):
            yield stack, block


def _name(stack: int, block: int) -> str:
    return f"stack{stack}_block{block}"


def _blocks(model: keras.Model) -> Sequence[keras.Layer]:
    return [layer for layer in model.layers if re.fullmatch(r"stack\d+_block\d+", layer.name)]


def _size(num_blocks: Sequence[int], block_type: str, widths: Sequence[int], stem: int = 64) -> Arguments:
    return {
        "input_conv_filters": [stem],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": list(widths),
        "stackwise_num_blocks": list(num_blocks),
        "stackwise_num_strides": [1] + [2] * (len(widths) - 1),
        "block_type": block_type,
    }


# What keras-nlp has no argument for.
_FIXED = {
    "hidden_act": "relu",
    "num_channels": 3,
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}


def _from_transformers(config: Mapping[str, Any]) -> Arguments:
    require(config, _FIXED)
    basic, stem, widths = config["layer_type"] == "basic", config["embedding_size"], config["hidden_sizes"]
    expansion = 1 if basic else 4
    if widths[0] != 64 * expansion:  # keras-nlp has no other
        raise ValueError(f"`hidden_sizes` must start with {64 * expansion}. Received: {widths}.")
    if basic and stem != widths[0]:  # keras-nlp's first block has no convolution to make up for it
        raise ValueError(f"`embedding_size` must be {widths[0]} with basic layers. Received: {stem}.")
    block_type = _BASIC if basic else _BOTTLENECK
    return _size(config["depths"], block_type, [width // expansion for width in widths], stem)


def _transformers_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    modules = {"conv1": "embedder.embedder"}
    for stack, block in _places(arguments):
        ours, theirs = _name(stack, block), f"encoder.stages.{stack}.layers.{block}"
        modules |= {f"{ours}_0": f"{theirs}.shortcut"}
        modules |= {f"{ours}_{index}": f"{theirs}.layer.{index - 1}" for index in (1, 2, 3)}
    return {
        **{f"{ours}_conv": f"{theirs}.convolution" for ours, theirs in modules.items()},
        **{f"{ours}_bn": f"{theirs}.normalization" for ours, theirs in modules.items()},
    }


# timm keeps no sizes in config.json but the architecture's name: the name is the size. Its further variants, such as
# resnet50d, have other stems and shortcuts.
_TIMM_SIZES = {
    "resnet18": ([2, 2, 2, 2], _BASIC),
    "resnet26": ([2, 2, 2, 2], _BOTTLENECK),
    "resnet34": ([3, 4, 6, 3], _BASIC),
    "resnet50": ([3, 4, 6, 3], _BOTTLENECK),
    "resnet101": ([3, 4, 23, 3], _BOTTLENECK),
    "resnet152": ([3, 8, 36, 3], _BOTTLENECK),
}


def _from_timm(config: Mapping[str, Any]) -> Arguments:
    timm_changes(config, pooling=["avg"])
    return _size(*_TIMM_SIZES[config["architecture"]], _WIDTHS)


def _timm_sources(arguments: Mapping[str, Any]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {"conv1_conv": "conv1", "conv1_bn": "bn1"}
    for stack, block in _places(arguments):
        ours, theirs = _name(stack, block), f"layer{stack + 1}.{block}"
        sources |= {f"{ours}_0_conv": f"{theirs}.downsample.0", f"{ours}_0_bn": f"{theirs}.downsample.1"}
        for index in (1, 2, 3):
            sources |= {f"{ours}_{index}_conv": f"{theirs}.conv{index}", f"{ours}_{index}_bn": f"{theirs}.bn{index}"}
    return sources


def _preset_arguments(backbone: keras.Model) -> Arguments:
    config = backbone.get_config()
    if config["use_pre_activation"]:
        raise ValueError("`weights` must be a preset of ResNet or ResNet-vd. Received: one of ResNetV2.")
    return {key: config[key] for key in _size([], _BASIC, [])}


RESNET = VisionFamily(
    build=build,
    sizes={
        "resnet_toy": _size([1, 1], _BASIC, [64, 64]),
        "resnet_mini": _size([1, 1, 1], _BASIC, [64, 128, 256]),  # ours, for small images and random weights
        "resnet50": _size([3, 4, 6, 3], _BOTTLENECK, _WIDTHS),
    },
    blocks=_blocks,
    layouts=(
        Layout(
            library="transformers",
            recognises=lambda config: config.get("model_type") == "resnet",
            arguments=_from_transformers,
            sources=_transformers_sources,
            prefixes=("", "resnet."),
            unused=(r"classifier\..*",),
        ),
        Layout(
            library="timm",
            recognises=lambda config: config.get("architecture") in _TIMM_SIZES,
            arguments=_from_timm,
            sources=_timm_sources,
            unused=(r"fc\..*",),
        ),
    ),
    pixels=Pixels(crop=0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    preset=VisionPreset(
        keras_nlp.models.ResNetBackbone.from_preset, _preset_arguments, keras_nlp.layers.ResNetImageConverter
    ),
    convolutional=True,
)
