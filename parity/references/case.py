"""What a reference leaves for our side to be compared with: a checkpoint, inputs, and outputs.

A case is a folder with `case.json`, `arrays.safetensors`, `checkpoint/` and, for input pipelines, `images/` and
`pixels.safetensors`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

# Makes one case in the folder it is given.
Reference = Callable[[Path], None]

# Titles that tokenisers trip over.
TITLES = (
    "Red summer dress, size M",
    "Crème brûlée – naïve café №5",
    "",
    "x",
    "  two  spaces\tand a tab ",
    "手机壳 iPhone 15 红色",
    "don't WE'LL they're 3.14 1234567 €99.90",
    "emoji 👗👠 and a very-long-hyphenated-word",
    "word " * 40,
    "Привет мир, Straße, ΑΒΓ",
)


def save_case(
    folder: Path,
    *,
    encoder: str,
    modality: str,
    arrays: Mapping[str, np.ndarray],
    **described: Any,
) -> None:
    """Write a case but for its checkpoint.

    Args:
        folder: the case's, made here.
        encoder: our name of the encoder that the checkpoint is loaded with.
        modality: vision or text.
        arrays: inputs and outputs: for vision `images` (normalised, channels last), for text `token_ids` and `mask`;
            `sequence` and `pooled`.
        described: more for `case.json`: `image_size`, or `titles` and `length`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "arrays.safetensors")
    case = {"encoder": encoder, "modality": modality, **described}
    (folder / "case.json").write_text(json.dumps(case), encoding="utf-8")


def save_checkpoint(folder: Path, config: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> None:
    """Write `config.json` and tensors as a case's checkpoint, for libraries that do not do it themselves."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}
    save_tensors(tensors, checkpoint / "model.safetensors")


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random values for all parameters, so that none that starts as zero or one hides a mistake.

    Matrices keep the size of activations; norms' scales are near one; running variances are positive.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(1 + noise.abs() / 2)
        elif tensor.ndim >= 2:
            tensor.copy_(noise / max(tensor[0].numel(), 1) ** 0.5)
        else:
            tensor.copy_((1 if name.endswith("weight") else 0) + noise / 10)
    return model.eval()


def random_images(size: int, images: int = 3, seed: int = 0) -> torch.Tensor:
    """`[images, 3, size, size]`, as after normalisation."""
    return torch.randn([images, 3, size, size], generator=torch.Generator().manual_seed(seed))


def channels_last(images: torch.Tensor) -> np.ndarray:
    """`[batch, channels, height, width]` to `[batch, height, width, channels]`."""
    return images.permute(0, 2, 3, 1).numpy()


def save_processor(folder: Path, processor: Any) -> None:
    """Add an input pipeline of transformers to a case: its file, odd images, and the normalised pixels it makes."""
    processor.save_pretrained(folder / "checkpoint")
    images = [Image.open(path).convert("RGB") for path in _write_odd_images(folder / "images")]
    save_pixels(folder, np.stack([np.asarray(processor(image).pixel_values[0]).transpose(1, 2, 0) for image in images]))


def save_pixels(folder: Path, pixels: np.ndarray) -> None:
    """Add what an input pipeline makes of the odd images, `[images, size, size, 3]`, normalised, to a case."""
    save_file({"pixels": np.ascontiguousarray(pixels, np.float32)}, folder / "pixels.safetensors")


def _write_odd_images(folder: Path) -> list[Path]:
    """Images that input pipelines trip over, in the order in which `save_pixels` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(random.integers(0, 256, (8, 6, 3), np.uint8)).resize((97, 131)))
    palette = Image.fromarray(smooth).quantize(16)
    transparent = Image.fromarray(np.dstack([smooth, random.integers(0, 256, smooth.shape[:2], np.uint8)]))
    images = {
        "0_tall.png": Image.fromarray(smooth),
        "1_wide.png": Image.fromarray(smooth.transpose(1, 0, 2)[:50]),
        "2_noise.png": Image.fromarray(random.integers(0, 256, (90, 70, 3), np.uint8)),
        "3_small.png": Image.fromarray(random.integers(0, 256, (9, 11, 3), np.uint8)),
        "4_grey.png": Image.fromarray(smooth[:, :, 0]),
        "5_palette.png": palette,
        "6_transparent.png": transparent,
        "7_photo.jpg": Image.fromarray(smooth),
        "8_grey.jpg": Image.fromarray(smooth[:, :, 1]),
    }
    for name, image in images.items():
        buffer = io.BytesIO()
        image.save(buffer, "JPEG" if name.endswith("jpg") else "PNG")
        (folder / name).write_bytes(buffer.getvalue())
    return [folder / name for name in images]
