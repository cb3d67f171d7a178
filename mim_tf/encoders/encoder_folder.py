"""An encoder in a folder of its own: what it is, and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from mim_tf.encoders.checkpoints import read_json

DESCRIPTION = "encoder.json"
_WEIGHTS = "encoder.weights.h5"


def write_encoder(
    folder: Path, encoder: keras.Model, description: Mapping[str, Any], files: Mapping[str, bytes] | None = None
) -> None:
    """Write an encoder into a folder; the description comes last, so that a folder without it is none.

    Args:
        folder: made here if need be.
        encoder: whose weights are saved, adapters merged in.
        description: plain values from which the encoder can be built again.
        files: its tokeniser's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
    encoder.save_weights(folder / _WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read_description(folder: Path, modality: str) -> dict[str, Any]:
    """What a folder's encoder is.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of the other modality.
    """
    description = read_json(folder / DESCRIPTION)
    if description.pop("modality", None) != modality:
        raise ValueError(f"{folder} must hold a {modality} encoder.")
    return description


def read_weights(folder: Path, encoder: keras.Model) -> None:
    """Give an encoder, built as the folder's description says, the folder's weights.

    Raises:
        ValueError: the file is missing, damaged, or of another encoder.
    """
    try:
        encoder.load_weights(folder / _WEIGHTS)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder / _WEIGHTS} must hold the weights of the encoder beside it: {error}") from error
