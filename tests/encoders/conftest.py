"""The toy of every family, and inputs that it takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import tensorflow as tf

from mim_tf.encoders import TEXT_FAMILIES, VISION_FAMILIES, TextEncoder, VisionEncoder, text_encoder, vision_encoder
from tests.encoders.toys import tokenizer_files

DIM, LENGTH = 4, 8
PRECISIONS = ("float32", "mixed_bfloat16")
ROUNDING = {"float32": 1e-4, "mixed_bfloat16": 5e-2}
TITLES = ["red summer dress", "", "手机壳 iPhone 15 and more than eight tokens of it"]
FAMILIES = [f"vision-{name}" for name in VISION_FAMILIES] + [f"text-{name}" for name in TEXT_FAMILIES]


class Toy(NamedTuple):
    """An encoder, what it is called with, and what its `embed` is called with."""

    encoder: VisionEncoder | TextEncoder
    inputs: tf.Tensor
    raw: tf.Tensor


def make_toy(family: str, dtype: str = "float32") -> Toy:
    """The toy of one of `FAMILIES`."""
    modality, name = family.split("-")
    encoder: Any
    if modality == "text":
        encoder = text_encoder(f"{name}_toy", dim=DIM, length=LENGTH, files=tokenizer_files(name), dtype=dtype)
        titles = tf.constant(TITLES)
        return Toy(encoder, encoder.tokenize(titles), titles)
    patch = VISION_FAMILIES[name].sizes[f"{name}_toy"].get("patch_size", 16)
    encoder = vision_encoder(f"{name}_toy", dim=DIM, image_size=2 * patch if 32 % patch else 32, dtype=dtype)
    size = encoder.image_size
    pixels = tf.cast(tf.random.stateless_uniform([3, size, size, 3], [1, 2], 0, 256, tf.int32), tf.uint8)
    pictures = tf.stack([tf.io.encode_png(image) for image in pixels])
    return Toy(encoder, tf.cast(pixels, tf.float32), pictures)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each family once."""
    return str(request.param)
