"""ConvNeXt and ConvNeXt V2, by transformers and by timm."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextV2Config, ConvNextV2Model
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from parity.references.case import channels_last, random_images, randomise, save_case, save_checkpoint, save_processor

SMALL = {"hidden_sizes": [12, 16, 24, 40], "depths": [1, 2, 2, 1], "image_size": 64}


def transformers_convnext(folder: Path, image_size: int = 64) -> None:
    """Version 1 under a classifier, with names as in the published checkpoints."""
    classifier = randomise(ConvNextForImageClassification(ConvNextConfig(**SMALL, num_labels=5)))
    _save_transformers(folder, "convnext", classifier, classifier.convnext, image_size)


def transformers_convnextv2(folder: Path, image_size: int = 64) -> None:
    """Version 2 without a head."""
    model = randomise(ConvNextV2Model(ConvNextV2Config(**SMALL)))
    _save_transformers(folder, "convnextv2", model, model, image_size)


def transformers_pixels(folder: Path, image_size: int = 64) -> None:
    """The input pipeline: the centre below 384 pixels, the whole image squeezed into a square from there on."""
    transformers_convnextv2(folder, image_size)
    save_processor(folder, ConvNextImageProcessorPil(size={"shortest_edge": image_size}, crop_pct=0.875))


def _save_transformers(folder: Path, encoder: str, saved: Any, model: torch.nn.Module, image_size: int) -> None:
    images = random_images(image_size)
    with torch.no_grad():
        outputs = model(images)
    saved.save_pretrained(folder / "checkpoint")
    save_case(
        folder,
        encoder=encoder,
        modality="vision",
        arrays={
            "images": channels_last(images),
            "sequence": channels_last(outputs.last_hidden_state),
            "pooled": outputs.pooler_output.numpy(),
        },
        image_size=image_size,
    )


def timm_convnext(folder: Path, name: str, image_size: int = 64, older: bool = False, **changes: Any) -> None:
    """One that timm has by name, with its classifier; `older`, with a `config.json` without `model_args`."""
    model = randomise(timm.create_model(name, num_classes=5, **changes))
    images = random_images(image_size, images=2)
    with torch.no_grad():
        sequence = model.forward_features(images)
        pooled = model.forward_head(sequence, pre_logits=True).numpy()
    if older:
        config = {"architecture": name, "num_classes": 5, "pretrained_cfg": {"input_size": [3, 224, 224]}}
        save_checkpoint(folder, config, model.state_dict())
    else:
        save_for_hf(model, folder / "checkpoint", safe_serialization=True)
    save_case(
        folder,
        encoder=name,
        modality="vision",
        arrays={"images": channels_last(images), "sequence": channels_last(sequence), "pooled": pooled},
        image_size=image_size,
    )


REFERENCES = {
    "convnext_transformers": transformers_convnext,
    "convnext_transformers_odd": partial(transformers_convnext, image_size=91),
    "convnext_timm": partial(timm_convnext, name="convnext_tiny"),
    "convnextv2_transformers": transformers_convnextv2,
    "convnextv2_transformers_pixels": transformers_pixels,
    "convnextv2_transformers_pixels_large": partial(transformers_pixels, image_size=384),
    "convnextv2_timm": partial(timm_convnext, name="convnextv2_atto"),
    "convnextv2_timm_older": partial(timm_convnext, name="convnextv2_atto", older=True),
    "convnextv2_timm_odd": partial(timm_convnext, name="convnextv2_atto", image_size=91),
    "convnextv2_timm_linear": partial(timm_convnext, name="convnextv2_atto", conv_mlp=False),
}
