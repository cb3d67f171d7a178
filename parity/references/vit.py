"""ViT, by transformers and by timm."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from timm.models import save_for_hf
from transformers import ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from parity.references.case import channels_last, random_images, randomise, save_case, save_processor

TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48, "patch_size": 8}


def transformers_vit(folder: Path, image_size: int = 32) -> None:
    """Without a pooler, at the size it was made for or another."""
    model = randomise(ViTModel(ViTConfig(image_size=32, **TINY), add_pooling_layer=False))
    images = random_images(image_size)
    with torch.no_grad():
        sequence = model(images, interpolate_pos_encoding=image_size != 32).last_hidden_state.numpy()
    model.save_pretrained(folder / "checkpoint")
    save_case(
        folder,
        encoder="vit",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence, "pooled": sequence[:, 0]},
        image_size=image_size,
    )


def transformers_pixels(folder: Path) -> None:
    """The input pipeline: the whole image squeezed into a square, bilinear."""
    transformers_vit(folder)
    save_processor(folder, ViTImageProcessorPil(size={"height": 32, "width": 32}))


def timm_vit(folder: Path, image_size: int = 224) -> None:
    """The smallest that timm has by name."""
    model = randomise(timm.create_model("vit_tiny_patch16_224", num_classes=5))
    images = random_images(224, images=2)
    with torch.no_grad():
        sequence = model.forward_features(images)
        pooled = model.forward_head(sequence, pre_logits=True).numpy()
    save_for_hf(model, folder / "checkpoint", safe_serialization=True)
    save_case(
        folder,
        encoder="vit_tiny",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence.numpy(), "pooled": pooled},
        image_size=image_size,
    )


REFERENCES = {
    "vit_transformers": transformers_vit,
    "vit_transformers_resized": lambda folder: transformers_vit(folder, image_size=48),
    "vit_transformers_pixels": transformers_pixels,
    "vit_timm": timm_vit,
}
