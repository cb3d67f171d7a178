"""DINOv2 without and with registers, by transformers and by timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from parity.references.case import channels_last, random_images, randomise, save_case, save_processor

TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "mlp_ratio": 2, "patch_size": 7}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def _randomise(model: torch.nn.Module) -> torch.nn.Module:
    """With layer scales as large as one, so that they do not hide what a block does."""
    randomise(model)
    for name, tensor in model.state_dict().items():
        if name.endswith((".lambda1", ".gamma")):
            tensor.mul_(10)
    return model


def _transformers(folder: Path, model: torch.nn.Module, image_size: int) -> None:
    _randomise(model)
    images = random_images(image_size)
    with torch.no_grad():
        outputs = model(images)
    model.save_pretrained(folder / "checkpoint")
    sequence, pooled = outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy()
    save_case(
        folder,
        encoder="dinov2",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence, "pooled": pooled},
        image_size=image_size,
    )


def transformers_dinov2(folder: Path, image_size: int = 28, **config: Any) -> None:
    """At the size it was made for or another, which it resizes its positions to without antialiasing."""
    _transformers(folder, Dinov2Model(Dinov2Config(image_size=28, **TINY, **config)), image_size)


def transformers_registers(folder: Path, image_size: int = 28) -> None:
    """With registers, which resizes its positions with antialiasing."""
    config = Dinov2WithRegistersConfig(image_size=28, num_register_tokens=3, **TINY)
    _transformers(folder, Dinov2WithRegistersModel(config), image_size)


def transformers_pixels(folder: Path) -> None:
    """The input pipeline: the shorter side resized, bicubic, and the centre cut out."""
    transformers_dinov2(folder)
    crop = {"crop_size": {"height": 28, "width": 28}, "size": {"shortest_edge": 32}}
    save_processor(folder, BitImageProcessorPil(**crop, **IMAGENET))


def timm_dinov2(folder: Path) -> None:
    """The smallest that timm has by name, at a fraction of its 518 pixels."""
    name = "vit_small_patch14_dinov2"
    model = _randomise(timm.create_model(name, num_classes=0, img_size=56))
    images = random_images(56, images=2)
    with torch.no_grad():
        sequence = model.forward_features(images).numpy()
        pooled = model(images).numpy()
    save_for_hf(model, folder / "checkpoint", safe_serialization=True)
    save_case(
        folder,
        encoder="dinov2_small",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence, "pooled": pooled},
        image_size=56,
    )


REFERENCES = {
    "dinov2_transformers": transformers_dinov2,
    "dinov2_transformers_larger": lambda folder: transformers_dinov2(folder, image_size=49),
    "dinov2_transformers_smaller": lambda folder: transformers_dinov2(folder, image_size=14),
    "dinov2_transformers_swiglu": lambda folder: transformers_dinov2(folder, use_swiglu_ffn=True),
    "dinov2_transformers_registers": transformers_registers,
    "dinov2_transformers_registers_larger": lambda folder: transformers_registers(folder, image_size=49),
    "dinov2_transformers_registers_smaller": lambda folder: transformers_registers(folder, image_size=14),
    "dinov2_transformers_pixels": transformers_pixels,
    "dinov2_timm": timm_dinov2,
}
