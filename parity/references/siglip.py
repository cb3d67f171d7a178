"""SigLIP's vision tower, alone and beside its text tower, by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from parity.references.case import channels_last, random_images, randomise, save_case, save_processor

TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40, "patch_size": 8}
TEXT = {"vocab_size": 10, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 40}


def _save(folder: Path, model: torch.nn.Module, tower: torch.nn.Module, image_size: int, resized: bool) -> None:
    images = random_images(image_size)
    with torch.no_grad():
        outputs = tower(images, interpolate_pos_encoding=resized)
    model.save_pretrained(folder / "checkpoint")
    sequence, pooled = outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy()
    save_case(
        folder,
        encoder="siglip",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence, "pooled": pooled},
        image_size=image_size,
    )


def vision_tower(folder: Path, image_size: int = 32, made_for: int = 32, **config: Any) -> None:
    """At the size it was made for or another."""
    model = randomise(SiglipVisionModel(SiglipVisionConfig(image_size=made_for, **TINY | config)))
    _save(folder, model, model, image_size, resized=image_size != made_for)


def both_towers(folder: Path) -> None:
    """The vision tower of a checkpoint of both, whose configuration says nothing of defaults, as in those published."""
    vision = TINY | {"image_size": 32, "patch_size": 16, "num_attention_heads": 12, "hidden_size": 48}
    model = randomise(SiglipModel(SiglipConfig(text_config=TEXT, vision_config=vision)))
    _save(folder, model, model.vision_model, 32, resized=False)
    file = folder / "checkpoint" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    defaults = SiglipVisionConfig().to_dict()
    config["vision_config"] = {key: value for key, value in vision.items() if value != defaults[key]}
    file.write_text(json.dumps(config), encoding="utf-8")


def pixels(folder: Path) -> None:
    """The input pipeline: the whole image squeezed into a square, bicubic."""
    vision_tower(folder)
    save_processor(folder, SiglipImageProcessorPil(size={"height": 32, "width": 32}))


REFERENCES = {
    "siglip_transformers": vision_tower,
    "siglip_transformers_larger": lambda folder: vision_tower(folder, image_size=56),
    "siglip_transformers_smaller": lambda folder: vision_tower(folder, image_size=16),
    # As in so400m-patch14-384: 384 pixels are 27 patches of 14 and 6 pixels that nobody sees.
    "siglip_transformers_left_over": lambda folder: vision_tower(folder, image_size=38, made_for=38),
    "siglip_transformers_exact_gelu": lambda folder: vision_tower(folder, hidden_act="gelu"),
    "siglip_transformers_both_towers": both_towers,
    "siglip_transformers_pixels": pixels,
}
