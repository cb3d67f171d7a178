"""The input side of vision encoders: encoded bytes to the pixels that an architecture was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from mim_tf.image_decoding import decode_image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
IMAGE_SIZE = 224  # pixels, where nothing else is said

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Pixels:
    """How images become the square inputs of an encoder.

    Resizing is antialiased and rounded to whole grey levels after each axis, width first. Results are those of Pillow
    up to version 12, within one grey level, or in a rare pixel that bicubic enlarging amplifies, two. Version 13
    resizes some shapes height first, which differs by more.

    Attributes:
        crop: the side of the square cut out of the centre, as a fraction of the scaled image's shorter side; None
            squeezes the whole image into the square instead.
        interpolation: bilinear or bicubic.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        centre_to_even: whether the square's corner, where an odd number of pixels is cut off, is rounded to even, as
            torchvision and so timm do, instead of down, as transformers does.
        squeezed: whether the scaled image, out of which the square is cut, is a square itself, whatever the image's
            aspect ratio.
        rounded: whether the scaled side, `size / crop`, is rounded to the nearest whole number, which recovers the
            shortest edge that a fraction was made of, instead of down, as timm does.
    """

    crop: float | None = None
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF
    centre_to_even: bool = False
    squeezed: bool = False
    rounded: bool = False

    def scaled_side(self, size: int) -> int:
        """The shorter side, pixels, that an image is resized to before a square of `size` is cut out of it."""
        scaled = size / (self.crop or 1.0)
        return round(scaled) if self.rounded else int(scaled)

    def decode(self, image: tf.Tensor, size: int) -> tf.Tensor:
        """Pixels of one encoded image, of the formats and within the limits of `decode_image`.

        Args:
            image: scalar string, the encoded bytes.
            size: both sides of the result, pixels.

        Returns:
            `[size, size, 3]` float32, whole numbers in 0..255.

        Raises:
            InvalidArgumentError: it cannot be decoded, or is too large.
        """
        pixels = decode_image(image)
        height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
        scaled_height = scaled_width = self.scaled_side(size)
        if self.crop is not None and not self.squeezed:
            shorter = tf.minimum(height, width)
            scaled_height, scaled_width = scaled_height * height // shorter, scaled_width * width // shorter
        pixels = self._centre(self._resize(pixels, height, scaled_width), size, axis=1)
        pixels = self._centre(self._resize(pixels, scaled_height, size), size, axis=0)
        pixels.set_shape([size, size, 3])
        return pixels

    def normalise(self, pixels: tf.Tensor) -> tf.Tensor:
        """Pixels in 0..255 to what the architecture takes: `(x / 255 - mean) / std`, channels last."""
        mean, std = tf.constant(self.mean, pixels.dtype), tf.constant(self.std, pixels.dtype)
        return (pixels / 255 - mean) / std

    def _resize(self, pixels: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
        def resized() -> tf.Tensor:
            smooth = tf.image.resize(pixels, [height, width], self.interpolation, antialias=True)
            return tf.clip_by_value(tf.round(smooth), 0.0, 255.0)

        # Of the right size it would come out as it is, in as much time as any other.
        fits = tf.reduce_all(tf.equal(tf.shape(pixels)[:2], tf.stack([height, width])))
        return tf.cond(fits, lambda: tf.cast(pixels, tf.float32), resized)

    def _centre(self, pixels: tf.Tensor, size: int, axis: int) -> tf.Tensor:
        margin = tf.shape(pixels)[axis] - size
        start = tf.cast(tf.round(tf.cast(margin, tf.float32) / 2), tf.int32) if self.centre_to_even else margin // 2
        return tf.gather(pixels, start + tf.range(size), axis=axis)


SQUEEZED = Pixels()
