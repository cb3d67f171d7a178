"""BEiT-3 by torchscale, with the options of its authors and checkpoints in the form that ours are made from theirs."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from torchscale.architecture.config import EncoderConfig
from torchscale.model.BEiT3 import BEiT3
from transformers import XLMRobertaTokenizer
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from parity.references.case import (
    TITLES,
    channels_last,
    random_images,
    randomise,
    save_case,
    save_checkpoint,
    save_processor,
)

LENGTH = 16
CONFIG = {
    "model_type": "beit3",
    "embed_dim": 24,
    "layers": 2,
    "attention_heads": 3,
    "ffn_embed_dim": 48,
    "patch_size": 8,
    "image_size": 32,
    "vocab_size": 150,  # more than the tokeniser has
    "max_text_positions": LENGTH + 4,
}
POSITIONS = "encoder.embed_positions.A.weight"


class Published(torch.nn.Module):
    """The names of the authors' checkpoints: the encoder below `beit3`, heads of several tasks beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.beit3 = BEiT3(options(CONFIG["image_size"]))
        self.mlm_head = torch.nn.Linear(CONFIG["embed_dim"], CONFIG["vocab_size"])
        self.vision_head = torch.nn.Linear(CONFIG["embed_dim"], CONFIG["embed_dim"], bias=False)
        self.language_head = torch.nn.Linear(CONFIG["embed_dim"], CONFIG["embed_dim"], bias=False)
        self.logit_scale = torch.nn.Parameter(torch.ones([]))


def vision(folder: Path, image_size: int = CONFIG["image_size"]) -> None:
    """Images alone, at the size that the model was made for or another."""
    model, images = _model(folder, image_size), random_images(image_size)
    with torch.no_grad():
        sequence = model(visual_tokens=images)["encoder_out"].numpy()
    save_case(
        folder,
        encoder="beit3",
        modality="vision",
        arrays={"images": channels_last(images), "sequence": sequence, "pooled": sequence[:, 0]},
        image_size=image_size,
    )


def pixels(folder: Path) -> None:
    """The authors' `Resize((size, size), interpolation=3)` and mean and deviation of one half, which no file tells."""
    vision(folder)
    save_processor(folder, ViTImageProcessorPil(size={"height": 32, "width": 32}, resample=3))
    (folder / "checkpoint" / "preprocessor_config.json").unlink()


def text(folder: Path) -> None:
    """Titles alone, by the tokeniser that the authors read their file with."""
    model, tokens = _model(folder), _tokens(folder)
    with torch.no_grad():
        sequence = model(**tokens)["encoder_out"].numpy()
    save_case(
        folder,
        encoder="beit3",
        modality="text",
        arrays={**_arrays(tokens), "sequence": sequence, "pooled": sequence[:, 0]},
        titles=TITLES,
        length=LENGTH,
    )


def joint(folder: Path, image_size: int = CONFIG["image_size"]) -> None:
    """Images and titles in pairs."""
    model, tokens, images = _model(folder, image_size), _tokens(folder), random_images(image_size, len(TITLES))
    with torch.no_grad():
        sequence = model(visual_tokens=images, **tokens)["encoder_out"].numpy()
    save_case(
        folder,
        encoder="beit3",
        modality="beit3",
        arrays={
            **_arrays(tokens),
            "images": channels_last(images),
            "sequence": sequence,
            "pooled": sequence[:, 0],
        },
        image_size=image_size,
    )


def _model(folder: Path, image_size: int = CONFIG["image_size"]) -> BEiT3:
    """A model whose checkpoint is in the folder; for another image size, positions as the authors' loading has them."""
    published = randomise(Published())
    save_checkpoint(folder, CONFIG, published.state_dict())
    if image_size == CONFIG["image_size"]:
        return published.beit3
    resized = BEiT3(options(image_size)).eval()
    state = published.beit3.state_dict()
    places, leading = resized.vision_embed.num_patches, 3  # two that are never used, and the class token's
    side = CONFIG["image_size"] // CONFIG["patch_size"]
    grid = state[POSITIONS][leading:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(round(places**0.5),) * 2, mode="bicubic", align_corners=False)
    state[POSITIONS] = torch.cat([state[POSITIONS][:leading], grid.flatten(2).squeeze(0).T])
    resized.load_state_dict(state)
    return resized


def options(image_size: int, config: dict[str, Any] = CONFIG) -> EncoderConfig:
    """The authors' options for a size as our `config.json` describes it."""
    return EncoderConfig(
        img_size=image_size,
        patch_size=config["patch_size"],
        vocab_size=config["vocab_size"],
        max_source_positions=config["max_text_positions"],
        encoder_embed_dim=config["embed_dim"],
        encoder_attention_heads=config["attention_heads"],
        encoder_ffn_embed_dim=config["ffn_embed_dim"],
        encoder_layers=config["layers"],
        multiway=True,
        layernorm_embedding=False,
        normalize_output=True,
        no_output_layer=True,
    )


def _tokens(folder: Path) -> dict[str, torch.Tensor]:
    """The titles as the model takes them, by a tokeniser whose file joins the checkpoint."""
    with tempfile.TemporaryDirectory() as named_by_transformers:
        file = Path(named_by_transformers) / "sentencepiece.bpe.model"
        file.write_bytes(_pieces())
        tokenizer = XLMRobertaTokenizer.from_pretrained(named_by_transformers)
        shutil.copy(file, folder / "checkpoint" / "beit3.spm")
    tokens = tokenizer(list(TITLES), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    return {"textual_tokens": tokens["input_ids"], "text_padding_position": tokens["attention_mask"] == 0}


def _pieces() -> bytes:
    """A small SentencePiece model."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([title for title in TITLES if title] * 10),
        model_writer=model,
        vocab_size=120,
        hard_vocab_limit=False,
        character_coverage=0.98,  # leaves the rarest characters unknown
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    return model.getvalue()


def _arrays(tokens: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {
        "token_ids": tokens["textual_tokens"].numpy().astype(np.int32),
        "mask": ~tokens["text_padding_position"].numpy(),
    }


REFERENCES = {
    "beit3_vision": vision,
    "beit3_vision_larger": lambda folder: vision(folder, image_size=56),
    "beit3_vision_smaller": lambda folder: vision(folder, image_size=16),
    "beit3_vision_pixels": pixels,
    "beit3_text": text,
    "beit3_joint": joint,
    "beit3_joint_larger": lambda folder: joint(folder, image_size=48),
}
