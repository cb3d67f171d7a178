"""What checkpoints say about their input side: the size of images, and how they become pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mim_tf.encoders.checkpoints import read_json
from mim_tf.encoders.pixels import IMAGE_SIZE, IMAGENET_MEAN, IMAGENET_STD, Interpolation, Pixels

_CONFIG, _PREPROCESSOR, _PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
_PILLOW_FILTERS: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}  # as transformers' preprocessors say it
_INTERPOLATIONS: dict[str, Interpolation] = {"bilinear": "bilinear", "bicubic": "bicubic"}
_LARGE = 384  # from this shortest edge on, transformers' ConvNeXt preprocessing squeezes instead of cropping
_CONVNEXT_CROP = 224 / 256  # transformers', where `crop_pct` is null
_TIMM_CROP = 0.875
_TIMM_KEYS = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
_TIMM_MODES = {"center": False, "squash": True}  # to whether images are squeezed

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def pixels_of(folder: Path, config: Mapping[str, Any], default: Pixels) -> tuple[int, Pixels]:
    """The input side that a checkpoint asks for.

    Size and preprocessing come from the same file where it tells both: DINOv2's `config.json` says 518, the size of its
    first training, while its preprocessor makes images of 224.

    Args:
        folder: of the checkpoint; transformers keeps `preprocessor_config.json` there, or since version 5
            `processor_config.json`, which it prefers.
        config: its `config.json`, where timm keeps `pretrained_cfg`, or in older files what is in it.
        default: the architecture's own, for what the folder says nothing about.

    Returns:
        Both sides of the input, pixels, and how images become it.

    Raises:
        ValueError: the folder asks for what is not done here, or contradicts itself.
    """
    path, described = _described(folder, config)
    read = _from_timm if path.name == _CONFIG else _from_transformers
    try:
        size, pixels = read(described, default)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return size or _configured_size(config), pixels


def pixels_of_converter(converter: Any, backbone_size: int | None) -> tuple[int, Pixels]:
    """The input side that a keras-nlp image converter describes: `x * scale + offset`.

    Resizing is always antialiased here, whatever the converter's `antialias` says, and a crop follows it instead of
    going before.

    Args:
        converter: keras-nlp's; its `image_size` may be None.
        backbone_size: both sides of the backbone's input, pixels, None where it is open.

    Returns:
        Both sides of the input, pixels, and how images become it.

    Raises:
        ValueError: the converter pads, makes images that are not square, or interpolates in a way not known here.
    """
    if converter.pad_to_aspect_ratio:
        raise ValueError("`pad_to_aspect_ratio` must be false, images are not padded. Received: True.")
    scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3)
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3)
    std = 1 / (255 * scale)
    size = _square("image_size", converter.image_size) if converter.image_size else backbone_size or IMAGE_SIZE
    return size, Pixels(
        crop=1.0 if converter.crop_to_aspect_ratio else None,
        interpolation=_known("interpolation", converter.interpolation, _INTERPOLATIONS),
        mean=_triple("offset", -offset * std),
        std=_triple("scale", std),
    )


def _described(folder: Path, config: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]]:
    """The file that tells of the input side, and its part that does."""
    if (folder / _PROCESSOR).is_file():
        nested = read_json(folder / _PROCESSOR).get("image_processor")
        if isinstance(nested, Mapping):
            return folder / _PROCESSOR, nested
    if (folder / _PREPROCESSOR).is_file():
        return folder / _PREPROCESSOR, read_json(folder / _PREPROCESSOR)
    return folder / _CONFIG, _timm_described(config)


def _timm_described(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """timm's part of a `config.json`. Like timm, put right the size that its older exports of a resized model tell."""
    flat = config if "architecture" in config else {}  # what transformers calls `architectures`
    described = config.get("pretrained_cfg") or flat
    arguments = config.get("model_args") or {}
    size = arguments.get("img_size")
    open_size = arguments.get("dynamic_img_size") or arguments.get("strict_img_size") is False
    if size is None or open_size or not described.get("fixed_input_size"):
        return described
    return {**described, "input_size": [3, size, size] if isinstance(size, int) else [3, *size]}


def _configured_size(config: Mapping[str, Any]) -> int:
    size = config.get("vision_config", config).get("image_size")  # of two towers, or one
    return _square("image_size", size) if size else IMAGE_SIZE


def _from_timm(config: Mapping[str, Any], default: Pixels) -> tuple[int | None, Pixels]:
    """As timm takes it: what is missing or null has timm's defaults, unless all is."""
    said = {key: config[key] for key in _TIMM_KEYS if config.get(key) is not None}
    if not said:
        return None, default
    size = said.get("input_size")  # channels, height, width
    squeezed = _known("crop_mode", said.get("crop_mode", "center"), _TIMM_MODES)
    crop = _fraction("crop_pct", said.get("crop_pct", _TIMM_CROP))
    return None if size is None else _square("input_size", size[1:] if isinstance(size, list) else size), Pixels(
        crop=None if squeezed and crop == 1 else crop,
        interpolation=_known("interpolation", said.get("interpolation", "bicubic"), _INTERPOLATIONS),
        mean=_triple("mean", said.get("mean", IMAGENET_MEAN)),
        std=_triple("std", said.get("std", IMAGENET_STD)),
        centre_to_even=True,
        squeezed=squeezed and crop < 1,
    )


def _from_transformers(config: Mapping[str, Any], default: Pixels) -> tuple[int | None, Pixels]:
    """As transformers takes it: null switches have their defaults."""
    _check_steps(config)
    resample = config.get("resample")
    normalised = config.get("do_normalize") is not False
    size, cut = _cut(config)
    return size, replace(
        default,
        **cut,
        interpolation=default.interpolation if resample is None else _known("resample", resample, _PILLOW_FILTERS),
        mean=_triple("image_mean", config.get("image_mean", default.mean)) if normalised else (0.0, 0.0, 0.0),
        std=_triple("image_std", config.get("image_std", default.std)) if normalised else (1.0, 1.0, 1.0),
    )


def _check_steps(config: Mapping[str, Any]) -> None:
    """Refuse the steps that would make other pixels than ours."""
    for step in ("do_resize", "do_rescale"):
        if config.get(step) is False:
            raise ValueError(f"`{step}` must be true, it is always done here. Received: False.")
    if config.get("do_pad"):
        raise ValueError(f"`do_pad` must be false, images are not padded. Received: {config['do_pad']!r}.")
    factor = config.get("rescale_factor")
    if factor is not None and not np.isclose(factor, 1 / 255, rtol=1e-4):
        raise ValueError(f"`rescale_factor` must be 1/255. Received: {factor!r}.")


def _cut(config: Mapping[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """The input size, and the fields of `Pixels` on how the square comes about; nothing where it is not said."""
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type"))
    convnext, cropped = "crop_pct" in config or kind.startswith("ConvNext"), bool(config.get("do_center_crop"))
    size = config.get("size")
    if size is None and not cropped:
        return None, {}
    # A number is the shortest edge where a crop follows, but for DeiT, and a square otherwise.
    if isinstance(size, int) and (convnext or (cropped and not kind.startswith("DeiT"))):
        size = {"shortest_edge": size}
    keeps_aspect = isinstance(size, Mapping) and set(size) == {"shortest_edge"}
    side = _square("size", size["shortest_edge"] if isinstance(size, Mapping) and keeps_aspect else size)
    if convnext:
        return side, _convnext_cut(config, side, keeps_aspect)
    if not cropped:
        if keeps_aspect:
            raise ValueError("`do_center_crop` must be true with a shortest edge as `size`. Received: False.")
        return side, {"crop": None}
    crop = _square("crop_size", config.get("crop_size"))
    if crop > side:
        raise ValueError(f"`crop_size` must be at most `size`, {side}: images are not padded. Received: {crop}.")
    if crop == side and not keeps_aspect:
        return crop, {"crop": None}
    return crop, {"crop": crop / side, "squeezed": not keeps_aspect, "rounded": True}


def _convnext_cut(config: Mapping[str, Any], side: int, keeps_aspect: bool) -> dict[str, Any]:
    """A fraction of ConvNeXt's preprocessing, which ResNet's checkpoints share."""
    if not keeps_aspect:
        raise ValueError(f"`size` must be a shortest edge with `crop_pct`. Received: {config['size']!r}.")
    if config.get("do_center_crop") and _square("crop_size", config.get("crop_size")) != side:
        raise ValueError(f"`crop_size` must be the shortest edge {side}. Received: {config['crop_size']!r}.")
    crop = config.get("crop_pct")
    return {"crop": _fraction("crop_pct", _CONVNEXT_CROP if crop is None else crop) if side < _LARGE else None}


def _square(name: str, size: Any) -> int:
    """The side of a square that is said in any of the ways there are."""
    sides = size
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        sides = size["height"], size["width"]
    if isinstance(size, int):
        sides = size, size
    match sides:
        case [int(height), int(width)] if height == width and height > 0:
            return height
    raise ValueError(f"`{name}` must be the side of a square, or height and width of one. Received: {size!r}.")


def _fraction(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"`{name}` must be above 0 and at most 1. Received: {value!r}.")
    return float(value)


def _known(name: str, value: Any, known: Mapping[_Key, _Value]) -> _Value:
    if value not in list(known):
        raise ValueError(f"`{name}` must be one of {', '.join(map(str, sorted(known, key=str)))}. Received: {value!r}.")
    return known[value]


def _triple(name: str, values: Any) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be three numbers. Received: {values!r}.") from error
    return red, green, blue
