"""The models that settings describe, and the weights that one stage hands to the next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import keras

from mim_tf.encoders import TextEncoder, VisionEncoder, text_encoder
from mim_tf.errors import SettingsError
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.settings import EncoderSettings, Settings
from mim_tf.workdir import StageFolder, write_aside


def build_encoders(settings: EncoderSettings, prepare: StageFolder) -> tuple[VisionEncoder, TextEncoder]:
    """F_V and F_L with the weights they start from.

    Raises:
        SettingsError: an encoder that does not exist, or weights that are not where the settings say.
    """
    try:
        vision = VisionEncoder(settings.vision.name, settings.vision.image_size, settings.dim)
        text = text_encoder(
            settings.text.name,
            length=settings.text.length,
            dim=settings.dim,
            vocabulary=read_vocabulary(prepare),
            weights=settings.text.weights,
            trainable=settings.text.trainable,
        )
    except (ValueError, FileNotFoundError) as error:
        raise SettingsError(f"encoders: {error}") from error
    return vision, text


def read_vocabulary(prepare: StageFolder) -> list[str]:
    """The WordPiece vocabulary that `prepare` learnt from the titles, one piece per line."""
    # Not splitlines: a piece may be one of the rarer characters that it takes for line ends.
    return _vocabulary_file(prepare).read_text(encoding="utf-8").removesuffix("\n").split("\n")


def write_vocabulary(prepare: StageFolder, vocabulary: Sequence[str]) -> None:
    """Leave the vocabulary for `read_vocabulary`."""
    write_aside(_vocabulary_file(prepare), "\n".join(vocabulary) + "\n")


def _vocabulary_file(prepare: StageFolder) -> Path:
    return prepare.path / "vocabulary.txt"


def records_folder(prepare: StageFolder) -> Path:
    """Where the training records are."""
    return prepare.path / "records"


def save_encoders(pretrain: StageFolder, vision: VisionEncoder, text: TextEncoder) -> None:
    """Hand the aligned encoders to the next stages."""
    _save(vision, pretrain.path / "vision.weights.h5")
    _save(text, pretrain.path / "text.weights.h5")


def load_encoders(pretrain: StageFolder, vision: VisionEncoder, text: TextEncoder) -> None:
    """Take over the encoders that pre-training left."""
    vision.load_weights(pretrain.path / "vision.weights.h5")
    text.load_weights(pretrain.path / "text.weights.h5")


def build_item_encoder(settings: Settings, prepare: StageFolder) -> ItemEncoder:
    """An item encoder as C-SFT starts it, before any weights of an earlier stage."""
    vision, text = build_encoders(settings.encoders, prepare)
    return ItemEncoder(vision, text, settings.csft.fusion_units, settings.encoders.dim)


def item_encoder_weights(stage: StageFolder) -> Path:
    """Where a stage, `csft` or `represent`, leaves its item encoder."""
    return stage.path / "item_encoder.weights.h5"


def save_item_encoder(stage: StageFolder, encoder: ItemEncoder) -> None:
    """Leave an item encoder in a stage's folder."""
    _save(encoder, item_encoder_weights(stage))


def load_item_encoder(stage: StageFolder, encoder: ItemEncoder) -> None:
    """Take over the item encoder that a stage left."""
    encoder.load_weights(item_encoder_weights(stage))


def _save(model: keras.Model, path: Path) -> None:
    """Write aside and rename; Keras insists on the ending."""
    aside = path.with_name("partial.weights.h5")
    model.save_weights(aside)
    os.replace(aside, path)
