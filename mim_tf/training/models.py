"""The models that settings describe, and the weights that one stage hands to the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mim_tf.encoders import (
    TEXT_ENCODERS,
    TEXT_FAMILIES,
    Encoder,
    TextEncoder,
    VisionEncoder,
    add_lora,
    layer_rates,
    recompute_activations,
    text_encoder,
    train_last_blocks,
    vision_encoder,
)
from mim_tf.errors import SettingsError
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.settings import EncoderSettings, EncoderTrainingSettings, TrainingSettings
from mim_tf.workdir import StageFolder, fresh_folder_aside, write_aside


def build_encoders(settings: EncoderSettings, prepare: StageFolder) -> tuple[VisionEncoder, TextEncoder]:
    """F_V and F_L with the weights they start from, as much of them learning as the settings say.

    Raises:
        SettingsError: an encoder that does not exist, weights that are not where the settings say or do not fit, or
            parts that it does not have.
    """
    return build_vision(settings), build_text(settings, prepare)


def build_vision(settings: EncoderSettings) -> VisionEncoder:
    """F_V, as in `build_encoders`."""
    options = settings.vision
    with _named("encoders.vision"):
        vision = vision_encoder(
            options.name,
            dim=settings.dim,
            image_size=options.image_size,
            weights=options.weights,
            dtype=settings.precision,
        )
    _adapt(vision, options, "encoders.vision")
    return vision


def build_text(settings: EncoderSettings, prepare: StageFolder) -> TextEncoder:
    """F_L, as in `build_encoders`."""
    options = settings.text
    with _named("encoders.text"):
        text = text_encoder(
            options.name,
            dim=settings.dim,
            length=options.length,
            weights=options.weights,
            files=None if options.weights else _first_files(options.name, prepare),
            dtype=settings.precision,
        )
    _adapt(text, options, "encoders.text")
    return text


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Say which setting an error is about."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise SettingsError(f"{setting}: {error}") from error


def _first_files(name: str, prepare: StageFolder) -> Mapping[str, bytes] | None:
    """The tokeniser's files of an encoder that starts from random weights; none for a family, whose size is unknown."""
    if name not in TEXT_ENCODERS:
        return None
    return TEXT_FAMILIES[TEXT_ENCODERS[name]].first_files(read_vocabulary(prepare))


def adapt(vision: VisionEncoder, text: TextEncoder, settings: EncoderSettings) -> None:
    """Choose what of the encoders learns, and whether activations are recomputed.

    Raises:
        SettingsError: more blocks than there are, or adapters for an encoder without dense layers.
    """
    _adapt(vision, settings.vision, "encoders.vision")
    _adapt(text, settings.text, "encoders.text")


def _adapt(encoder: Encoder, options: EncoderTrainingSettings, section: str) -> None:
    if options.trainable_blocks is not None:
        with _named(f"{section}.trainable_blocks"):
            train_last_blocks(encoder, options.trainable_blocks)
    if options.projection == "principal" and encoder.projection:
        encoder.projection.trainable = False
    if options.lora_rank:
        with _named(f"{section}.lora_rank"):
            add_lora(encoder, options.lora_rank)
    if options.recompute:
        recompute_activations(encoder)


def rates_of(options: TrainingSettings, *encoders: Encoder) -> dict[str, float]:
    """Relative learning rates by the paths of the encoders' variables, which differ from one encoder to the other."""
    return {path: rate for encoder in encoders for path, rate in layer_rates(encoder, options.layer_decay).items()}


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
    """Hand the encoders of stage 1 to the next stages."""
    save_encoder(vision, pretrain.path / "vision")
    save_encoder(text, pretrain.path / "text")


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write an encoder's folder, whole or not at all."""
    aside = fresh_folder_aside(folder)
    encoder.save_folder(aside)
    _replace(aside, folder)


def load_encoders(pretrain: StageFolder, precision: str) -> tuple[VisionEncoder, TextEncoder]:
    """The encoders that pre-training left."""
    return (
        VisionEncoder.load_folder(pretrain.path / "vision", precision),
        TextEncoder.load_folder(pretrain.path / "text", precision),
    )


def item_encoder_folder(stage: StageFolder) -> Path:
    """Where a stage, `csft` or `represent`, leaves its item encoder."""
    return stage.path / "item_encoder"


def save_item_encoder(stage: StageFolder, encoder: ItemEncoder) -> None:
    """Leave an item encoder in a stage's folder."""
    folder = item_encoder_folder(stage)
    aside = fresh_folder_aside(folder)
    encoder.save_folder(aside)
    _replace(aside, folder)


def load_item_encoder(stage: StageFolder, precision: str) -> ItemEncoder:
    """The item encoder that a stage left."""
    return ItemEncoder.load_folder(item_encoder_folder(stage), precision)


def earlier_item_encoder(folder: str, settings: EncoderSettings) -> ItemEncoder:
    """The item encoder that `represent` left in an earlier run, as it was there.

    Args:
        folder: `represent.encoder`.
        settings: for its precision, and the dimension, which must be the encoder's.

    Raises:
        SettingsError: there is none, or one of another dimension.
    """
    try:
        encoder = ItemEncoder.load_folder(Path(folder), settings.precision)
    except (OSError, ValueError) as error:
        raise SettingsError(
            "`represent.encoder` must be an item encoder's folder, as W/represent/item_encoder is. Received: "
            f"{folder}: {error}"
        ) from error
    if encoder.fusion.dim != settings.dim:
        raise SettingsError(
            f"`encoders.dim` must be {encoder.fusion.dim}, that of `represent.encoder`. Received: {settings.dim}."
        )
    return encoder


def _replace(aside: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(aside, folder)
