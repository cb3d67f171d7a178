"""DINOv3's vision transformers, by transformers and by timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from parity.references.case import channels_last, random_images, randomise, save_case

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "patch_size": 8,
    "num_register_tokens": 2,
}


def _randomise(model: torch.nn.Module) -> torch.nn.Module:
    """With layer scales as large as one, so that they do not hide what a block does."""
    randomise(model)
    for name, tensor in model.state_dict().items():
        if name.endswith((".lambda1", ".gamma_1", ".gamma_2")):
            tensor.mul_(10)
    return model


def transformers_dinov3(folder: Path, image_size: int = 32, **config: Any) -> None:
    """At the size in its configuration or another."""
    model = _randomise(DINOv3ViTModel(DINOv3ViTConfig(image_size=32, **TINY | config)))
    images = random_images(image_size)
    with torch.no_grad():
        outputs = model(images)
    model.save_pretrained(folder / "checkpoint")
    sequence, pooled = outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy()
    save_case(
        folder,
        encoder="dinov3",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence, "pooled": pooled},
        image_size=image_size,
    )


def timm_dinov3(folder: Path, size: str) -> None:
    """By timm's name, at 64 pixels instead of 256; its file asks for the mean of the patches, which we do not take."""
    name = f"vit_{size}_patch16_dinov3"
    model = _randomise(timm.create_model(name, num_classes=0))
    save_for_hf(model, folder / "checkpoint", safe_serialization=True)
    model.reset_classifier(0, "token")
    images = random_images(64, images=2)
    with torch.no_grad():
        sequence = model.forward_features(images).numpy()
        pooled = model(images).numpy()
    save_case(
        folder,
        encoder=f"dinov3_{size}",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence, "pooled": pooled},
        image_size=64,
    )


REFERENCES = {
    "dinov3_transformers": transformers_dinov3,
    "dinov3_transformers_larger": lambda folder: transformers_dinov3(folder, image_size=72),
    "dinov3_transformers_gated": lambda folder: transformers_dinov3(
        folder, use_gated_mlp=True, hidden_act="silu", query_bias=False, value_bias=False, rope_theta=50.0
    ),
    "dinov3_transformers_plain": lambda folder: transformers_dinov3(
        folder, num_register_tokens=0, key_bias=True, proj_bias=False, mlp_bias=False, layer_norm_eps=1e-3
    ),
    "dinov3_timm": lambda folder: timm_dinov3(folder, "small"),
    "dinov3_timm_gated": lambda folder: timm_dinov3(folder, "small_plus"),
}
