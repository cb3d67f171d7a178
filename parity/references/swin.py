"""Swin, by transformers and by timm."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
from timm.models import save_for_hf
from transformers import PreTrainedModel, SwinConfig, SwinForImageClassification, SwinModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from parity.references.case import channels_last, random_images, randomise, save_case, save_processor

TINY = {"embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2]}
TIMM = "swin_tiny_patch4_window7_224"


def transformers_swin(
    folder: Path, image_size: int = 64, window_size: int = 4, form: Callable[..., PreTrainedModel] = SwinModel
) -> None:
    """Two stages, each with a shifted block. An image of 64 pixels has whole windows of 4 in both stages, not of 7."""
    model = randomise(form(SwinConfig(image_size=64, window_size=window_size, **TINY)))
    images = random_images(image_size)
    with torch.no_grad():
        outputs = model.base_model(images)
    model.save_pretrained(folder / "checkpoint")
    save_case(
        folder,
        encoder="swin",
        modality="vision",
        arrays={
            "images": channels_last(images),
            "sequence": outputs.last_hidden_state.numpy(),
            "pooled": outputs.pooler_output.numpy(),
        },
        image_size=image_size,
    )


def transformers_pixels(folder: Path) -> None:
    """The input pipeline: the whole image squeezed into a square, bicubic."""
    transformers_swin(folder, image_size=64)
    save_processor(folder, ViTImageProcessorPil(size={"height": 64, "width": 64}, resample=3))


def timm_swin(folder: Path, image_size: int = 224) -> None:
    """The smallest that timm has by name; on small images its last stages have windows smaller than 7."""
    trained = randomise(timm.create_model(TIMM))
    model = timm.create_model(TIMM, img_size=image_size).eval()
    tables = {name: tensor for name, tensor in model.state_dict().items() if name.endswith("bias_table")}
    cut = {name: _centre(trained.state_dict()[name], len(table)) for name, table in tables.items()}
    model.load_state_dict(trained.state_dict() | cut)
    images = random_images(image_size, images=2)
    with torch.no_grad():
        maps = model.forward_features(images)  # [batch, height, width, hidden]
        pooled = model.forward_head(maps, pre_logits=True).numpy()
    save_for_hf(trained, folder / "checkpoint", safe_serialization=True)
    save_case(
        folder,
        encoder="swin_tiny",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": maps.flatten(1, 2).numpy(), "pooled": pooled},
        image_size=image_size,
    )


def _centre(table: torch.Tensor, rows: int) -> torch.Tensor:
    """The rows of a table of relative positions that are within a smaller window's reach."""
    old, new = math.isqrt(len(table)), math.isqrt(rows)
    margin = (old - new) // 2
    square = table.reshape(old, old, -1)[margin : old - margin, margin : old - margin]
    return square.reshape(rows, -1)


REFERENCES = {
    "swin_transformers": transformers_swin,
    "swin_transformers_classifier": lambda folder: transformers_swin(folder, form=SwinForImageClassification),
    "swin_transformers_mask_token": lambda folder: transformers_swin(
        folder, form=partial(SwinModel, use_mask_token=True)
    ),
    "swin_transformers_padded": lambda folder: transformers_swin(folder, window_size=7),
    "swin_transformers_odd": lambda folder: transformers_swin(folder, image_size=44),
    "swin_transformers_pixels": transformers_pixels,
    "swin_timm": timm_swin,
    "swin_timm_small": lambda folder: timm_swin(folder, image_size=56),
}
