"""EVA-02, by timm: its four sizes and both kinds of checkpoint, cut down to few and narrow blocks."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from parity.references.case import channels_last, random_images, randomise, save_case, save_processor

NARROW = {"depth": 2, "embed_dim": 24, "num_heads": 2}
PATCHES = 4  # per side


def eva02(folder: Path, architecture: str, *, encoder: str = "eva02", patches: int = PATCHES, **changed: Any) -> None:
    """One architecture by timm's name, at the image size that it is saved with or another.

    Args:
        folder: of the case.
        architecture: timm's name.
        encoder: ours.
        patches: per side, of the images that are compared.
        changed: arguments of timm's model.
    """
    patch = 16 if "patch16" in architecture else 14
    model = randomise(timm.create_model(architecture, img_size=PATCHES * patch, **changed))
    save_for_hf(model, folder / "checkpoint", safe_serialization=True)
    model.set_input_size(patches * patch)
    images = random_images(patches * patch, images=2)
    with torch.no_grad():
        sequence = model.forward_features(images)
        pooled = model.forward_head(sequence, pre_logits=True)
    save_case(
        folder,
        encoder=encoder,
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence.numpy(), "pooled": pooled.numpy()},
        image_size=patches * patch,
    )


class TimmPixels:
    """timm's input pipeline for evaluation in Pillow's terms, for its own needs torchvision.

    Args:
        architecture: timm's name, whose configuration says how images are cropped and normalised.
        side: of the square, pixels.
    """

    def __init__(self, architecture: str, side: int):
        self._config = timm.get_pretrained_cfg(architecture)
        self._side = side

    def save_pretrained(self, folder: Path) -> None:
        """Nothing: timm keeps it in `config.json`."""

    def __call__(self, image: Image.Image) -> SimpleNamespace:
        """One image, normalised, as a processor of transformers returns it."""
        scaled = math.floor(self._side / self._config.crop_pct)
        shorter = min(image.size)
        squash = self._config.crop_mode == "squash"
        width, height = (scaled if squash else int(scaled * side / shorter) for side in image.size)
        # Width first, as Pillow did in one call until version 13, which turns it round where height shrinks much more.
        resized = image.resize((width, image.height), Image.BICUBIC).resize((width, height), Image.BICUBIC)
        left, top = round((width - self._side) / 2), round((height - self._side) / 2)
        cut = resized.crop((left, top, left + self._side, top + self._side))
        pixels = (np.asarray(cut) / 255 - self._config.mean) / self._config.std
        return SimpleNamespace(pixel_values=[pixels.transpose(2, 0, 1)])


def pixels(folder: Path, architecture: str) -> None:
    """A case with its input pipeline."""
    eva02(folder, architecture, **NARROW)
    save_processor(folder, TimmPixels(architecture, PATCHES * 14))


REFERENCES = {
    "eva02_tiny": lambda folder: eva02(folder, "eva02_tiny_patch14_224", encoder="eva02_tiny", num_classes=0),
    "eva02_small": lambda folder: eva02(folder, "eva02_small_patch14_336", **NARROW),
    "eva02_pixels_centre": lambda folder: pixels(folder, "eva02_base_patch14_224"),
    "eva02_pixels_squashed": lambda folder: pixels(folder, "eva02_base_patch14_448"),
    "eva02_large": lambda folder: eva02(folder, "eva02_large_patch14_448", num_classes=5, **NARROW),
    "eva02_base_clip": lambda folder: eva02(folder, "eva02_base_patch16_clip_224", **NARROW),
    "eva02_large_clip": lambda folder: eva02(folder, "eva02_large_patch14_clip_336", **NARROW | {"embed_dim": 32}),
    "eva02_larger": lambda folder: eva02(folder, "eva02_tiny_patch14_224", patches=7, **NARROW),
    "eva02_smaller": lambda folder: eva02(folder, "eva02_base_patch16_clip_224", patches=3, **NARROW),
}
