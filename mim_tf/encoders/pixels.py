"""The input side of vision encoders: encoded bytes to the pixels that an architecture was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from mim_tf.encoders.checkpoints import read_json

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
_PILLOW_FILTERS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # as preprocessors say it
_INTERPOLATIONS = ("bilinear", "bicubic")
_LARGE = 384  # from this size on, transformers' ConvNeXt preprocessing leaves out the crop


@dataclass(frozen=True)
class Pixels:
    """How images become the square inputs of an encoder. Resizing gives Pillow's results, antialiased and rounded.

    Attributes:
        crop: the side of the square cut out of the centre, as a fraction of the shorter side; None squeezes the whole
            image into the square instead.
        interpolation: bilinear or bicubic.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        centre_to_even: whether the square's corner, where an odd number of pixels is cut off, is rounded to even, as
            torchvision and so timm do, instead of down, as transformers does.
    """

    crop: float | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF
    centre_to_even: bool = False

    def decode(self, image: tf.Tensor, size: int) -> tf.Tensor:
        """Pixels of one encoded image (JPEG, PNG, GIF's first frame, BMP); grey and palette images become RGB.

        Args:
            image: scalar string, the encoded bytes.
            size: both sides of the result, pixels.

        Returns:
            `[size, size, 3]` float32, whole numbers in 0..255.
        """
        pixels = _decode(image)
        if self.crop is None:
            return self._resize(pixels, size, size)
        scaled = int(size / self.crop)
        height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
        shorter = tf.minimum(height, width)
        resized = self._resize(pixels, scaled * height // shorter, scaled * width // shorter)
        return _centre(resized, size, self.centre_to_even)

    def normalise(self, pixels: tf.Tensor) -> tf.Tensor:
        """Pixels in 0..255 to what the architecture takes: `(x / 255 - mean) / std`, channels last."""
        mean, std = tf.constant(self.mean, pixels.dtype), tf.constant(self.std, pixels.dtype)
        return (pixels / 255 - mean) / std

    def _resize(self, pixels: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
        # One axis after the other with rounding in between, as Pillow does it: within one grey level of its results.
        for size in ([tf.shape(pixels)[0], width], [height, width]):
            resized = tf.image.resize(pixels, size, self.interpolation, antialias=True)
            pixels = tf.clip_by_value(tf.round(resized), 0.0, 255.0)
        if isinstance(height, int):
            pixels.set_shape([height, width, 3])
        return pixels


SQUEEZED = Pixels()


def _decode(image: tf.Tensor) -> tf.Tensor:
    """`[height, width, 3]` uint8. JPEG goes its own way for the accurate cosine transform, which Pillow uses."""
    pixels = tf.cond(
        tf.io.is_jpeg(image),
        lambda: tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(image, channels=3, expand_animations=False),
    )
    pixels.set_shape([None, None, 3])
    return pixels


def pixels_of(folder: Path, config: Mapping[str, Any], default: Pixels) -> Pixels:
    """The input side that a checkpoint asks for.

    Args:
        folder: of the checkpoint; transformers keeps `preprocessor_config.json` there.
        config: its `config.json`, where timm keeps `pretrained_cfg`.
        default: the architecture's own, for what the folder says nothing about.

    Raises:
        ValueError: an interpolation that is not known here.
    """
    if (folder / "preprocessor_config.json").is_file():
        return _from_transformers(read_json(folder / "preprocessor_config.json"), default)
    if "pretrained_cfg" in config:
        return _from_timm(config["pretrained_cfg"], default)
    return default


def pixels_of_converter(converter: Any) -> Pixels:
    """The input side that a keras-nlp image converter describes: `x * scale + offset`."""
    scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3)
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3)
    std = 1 / (255 * scale)
    return Pixels(
        crop=1.0 if converter.crop_to_aspect_ratio else None,
        interpolation=converter.interpolation,
        mean=_triple(-offset * std),
        std=_triple(std),
    )


def _from_timm(config: Mapping[str, Any], default: Pixels) -> Pixels:
    interpolation = config.get("interpolation", default.interpolation)
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"`interpolation` must be one of {', '.join(_INTERPOLATIONS)}. Received: {interpolation!r}.")
    squash = config.get("crop_mode") == "squash"
    return Pixels(
        crop=None if squash else config.get("crop_pct", default.crop),
        interpolation=interpolation,
        mean=_triple(config.get("mean", default.mean)),
        std=_triple(config.get("std", default.std)),
        centre_to_even=True,
    )


def _from_transformers(config: Mapping[str, Any], default: Pixels) -> Pixels:
    resample = config.get("resample")
    if resample is not None and resample not in _PILLOW_FILTERS:
        raise ValueError(f"`resample` must be one of {sorted(_PILLOW_FILTERS)}. Received: {resample!r}.")
    normalised = config.get("do_normalize", True)
    return Pixels(
        crop=_crop_of(config, default),
        interpolation=_PILLOW_FILTERS[resample] if resample else default.interpolation,
        mean=_triple(config.get("image_mean", default.mean)) if normalised else (0.0, 0.0, 0.0),
        std=_triple(config.get("image_std", default.std)) if normalised else (1.0, 1.0, 1.0),
    )


def _crop_of(config: Mapping[str, Any], default: Pixels) -> float | None:
    """A number for `size` is a square in old ViT files and the shorter side where a crop follows."""
    size = config.get("size")
    if size is None:
        return default.crop
    shorter = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if "crop_pct" in config and shorter is not None:
        return float(config["crop_pct"]) if shorter < _LARGE else None
    if shorter is None or not config.get("do_center_crop", False):
        return None
    crop = config.get("crop_size", shorter)
    return float((crop["height"] if isinstance(crop, Mapping) else crop) / shorter)


def _centre(pixels: tf.Tensor, size: int, to_even: bool) -> tf.Tensor:
    margin = tf.shape(pixels)[:2] - size
    corner = tf.cast(tf.round(tf.cast(margin, tf.float32) / 2), tf.int32) if to_even else margin // 2
    square = tf.slice(pixels, tf.concat([corner, [0]], axis=0), [size, size, 3])
    square.set_shape([size, size, 3])
    return square


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
