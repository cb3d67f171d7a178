"""Items' images made small enough to show many of them side by side."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

Photo = bytes | np.ndarray
"""An encoded image, as records hold it, or uint8 pixels `[height, width, 3]`."""

_GROUND = (255, 255, 255)
_UNREADABLE = (190, 190, 190)


def thumbnail(photo: Photo, side: int) -> Image.Image:
    """The whole image in the middle of a white square of `side` pixels, its proportions kept.

    Encoded images that Pillow cannot read become a grey square: a picture to look at must not end a training.

    Raises:
        ValueError: pixels are not uint8 `[height, width, 3]`.
    """
    image = _from_pixels(photo) if isinstance(photo, np.ndarray) else _decoded(photo, side)
    scale = side / max(image.size)
    width, height = (max(1, round(scale * length)) for length in image.size)
    square = Image.new("RGB", (side, side), _GROUND)
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    square.paste(small, ((side - width) // 2, (side - height) // 2))
    return square


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise ValueError(
            f"`photo` must be encoded or uint8 of shape [height, width, 3]. Received: {pixels.dtype} of shape "
            f"{pixels.shape}."
        )
    return Image.fromarray(pixels)


def _decoded(encoded: bytes, side: int) -> Image.Image:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.draft("RGB", (2 * side, 2 * side))  # a large JPEG is decoded at a fraction of its size
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # all of them are Pillow's "broken"
        return Image.new("RGB", (side, side), _UNREADABLE)
