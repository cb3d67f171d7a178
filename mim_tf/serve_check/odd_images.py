"""Images as shops have them beside plain JPEGs, made on the spot."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_SIZE = (48, 36)  # pixels, width and height


def odd_images() -> list[bytes]:
    """Encoded: a JPEG, a 16-bit PNG, an animated GIF, a CMYK JPEG, a PNG with transparency, a grey BMP."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, [*reversed(_SIZE), 4], np.uint8)
    grey16 = rng.integers(0, 65536, list(reversed(_SIZE)), np.uint16)
    plain = Image.fromarray(colours[..., :3])
    frames = [Image.fromarray(np.roll(colours[..., :3], shift, axis=0)) for shift in (5, 10)]
    return [
        _encoded(plain, "JPEG"),
        _encoded(Image.fromarray(grey16), "PNG"),
        _encoded(plain, "GIF", save_all=True, append_images=frames, duration=40),
        _encoded(Image.fromarray(colours, "CMYK"), "JPEG"),
        _encoded(Image.fromarray(colours, "RGBA"), "PNG"),
        _encoded(plain.convert("L"), "BMP"),
    ]


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
