"""ResNet, by transformers and by timm."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from timm.models import save_for_hf
from transformers import PreTrainedModel, ResNetConfig, ResNetForImageClassification, ResNetModel
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from parity.references.case import channels_last, random_images, randomise, save_case, save_processor


def transformers_resnet(
    folder: Path, layer_type: str, image_size: int = 64, form: type[PreTrainedModel] = ResNetModel
) -> None:
    """Two stages of one and two blocks; odd sizes show where a strided convolution pads."""
    expansion = {"basic": 1, "bottleneck": 4}[layer_type]
    sizes = {"hidden_sizes": [64 * expansion, 96 * expansion], "depths": [1, 2]}
    model = randomise(form(ResNetConfig(layer_type=layer_type, **sizes)))
    images = random_images(image_size)
    with torch.no_grad():
        outputs = model.base_model(images)
    model.save_pretrained(folder / "checkpoint")
    save_case(
        folder,
        encoder="resnet",
        modality="vision",
        arrays={
            "images": channels_last(images),
            "sequence": channels_last(outputs.last_hidden_state),
            "pooled": outputs.pooler_output[:, :, 0, 0].numpy(),
        },
        image_size=image_size,
    )


def transformers_pixels(folder: Path) -> None:
    """The input pipeline: the shorter side to 32 / 0.875, then the centre, bicubic."""
    transformers_resnet(folder, "basic", image_size=32)
    save_processor(folder, ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875, resample=3))


def timm_resnet(folder: Path, architecture: str, encoder: str, image_size: int) -> None:
    """All of a named size, with the head that published checkpoints have."""
    model = randomise(timm.create_model(architecture))
    images = random_images(image_size, images=2)
    with torch.no_grad():
        maps = model.forward_features(images)
        pooled = model.forward_head(maps, pre_logits=True).numpy()
    save_for_hf(model, folder / "checkpoint", safe_serialization=True)
    save_case(
        folder,
        encoder=encoder,
        modality="vision",
        arrays={"images": channels_last(images), "sequence": channels_last(maps), "pooled": pooled},
        image_size=image_size,
    )


REFERENCES = {
    "resnet_transformers_basic": lambda folder: transformers_resnet(folder, "basic"),
    "resnet_transformers_bottleneck": lambda folder: transformers_resnet(folder, "bottleneck"),
    "resnet_transformers_classifier": lambda folder: transformers_resnet(
        folder, "basic", form=ResNetForImageClassification
    ),
    "resnet_transformers_odd": lambda folder: transformers_resnet(folder, "bottleneck", image_size=33),
    "resnet_transformers_pixels": transformers_pixels,
    "resnet_timm_18": lambda folder: timm_resnet(folder, "resnet18", "resnet", image_size=33),
    "resnet_timm_50": lambda folder: timm_resnet(folder, "resnet50", "resnet50", image_size=96),
}
