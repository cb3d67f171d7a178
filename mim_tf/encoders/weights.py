"""Where an encoder's weights come from: what a setting points to, and whether it is the architecture it should be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any

import huggingface_hub

from mim_tf.encoders.checkpoints import Layout, read_json
from mim_tf.encoders.encoder_folder import DESCRIPTION
from mim_tf.encoders.family import Arguments, TextFamily, VisionFamily

_CONFIG, _PRESET_METADATA = "config.json", "metadata.json"
_POOLING = "1_Pooling/config.json"  # sentence-transformers
_POOLINGS = {"pooling_mode_cls_token": "first", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"}
_HUGGING_FACE, _HANDLES = "hf://", ("kaggle://", "modelscope://", "gs://")
# Of a repository; no pickle among them. The last two are keras-nlp's.
_NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.weights.h5", "assets/*"]


class Kind(Enum):
    """What weights can be."""

    ENCODER = auto()  # a folder that one of our encoders was saved to
    CHECKPOINT = auto()  # a folder of another library
    PRESET = auto()  # keras-nlp's handle, or a folder that it saved a preset to


def download(weights: str | Path) -> str | Path:
    """The local folder of `hf://owner/name`, fetched if it was not before; anything else as it is.

    Raises:
        FileNotFoundError: it could not be fetched, with the files to put into a folder where there is no network.
    """
    if not str(weights).startswith(_HUGGING_FACE):
        return weights
    repository = str(weights).removeprefix(_HUGGING_FACE)
    try:
        return huggingface_hub.snapshot_download(repository, allow_patterns=_NEEDED)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"cannot fetch {weights} ({_reason(error)}). Without a network, copy the repository's config.json, "
            "model.safetensors (or its shards and index), preprocessor_config.json or processor_config.json, 1_Pooling "
            "and the tokeniser's files, as far as it has them, into a folder, and give its path."
        ) from error


def kind_of(weights: str | Path) -> Kind:
    """What a path or handle points to.

    Raises:
        FileNotFoundError: nothing that weights can be.
    """
    folder = Path(weights)
    if (folder / DESCRIPTION).is_file():
        return Kind.ENCODER
    if (folder / _PRESET_METADATA).is_file():
        return Kind.PRESET
    if (folder / _CONFIG).is_file():
        return Kind.CHECKPOINT
    if folder.exists():
        raise FileNotFoundError(f"{weights} must hold {_CONFIG} and model.safetensors, or an encoder that was saved.")
    handle = str(weights)
    if handle.startswith(_HANDLES) or not (os.sep in handle or handle.startswith(".")):
        return Kind.PRESET
    raise FileNotFoundError(
        f"{weights} must be a folder with {_CONFIG} and model.safetensors. There is no such folder."
    )


def family_of(
    name: str, families: Mapping[str, Any], sizes: Mapping[str, str], weights: str | Path | None
) -> tuple[str, Arguments | None]:
    """The family that a name means and its size, None where the weights tell it.

    Args:
        name: of a size or a family.
        families: all families by name.
        sizes: each size's family.
        weights: where the weights come from.

    Raises:
        ValueError: an unknown name, or a family's name without weights.
    """
    if name in sizes:
        return sizes[name], families[sizes[name]].sizes[name]
    if name not in families:
        known = ", ".join(sorted({*families, *sizes}))
        raise ValueError(f"`name` must be one of {known}. Received: {name!r}.")
    if weights is None:
        raise ValueError(
            f"`weights` must be given with {name}, whose size they tell. Of a known size are: "
            f"{', '.join(families[name].sizes) or 'none'}."
        )
    return name, None


def check_size(name: str, size: Arguments | None, arguments: Arguments, weights: str | Path) -> None:
    """Refuse weights of another size than the name says.

    Raises:
        ValueError: they are, with what differs.
    """
    differing = [
        f"{key} is {arguments[key]}, not {value}"
        for key, value in (size or {}).items()
        if key != "pooling" and key in arguments and arguments[key] != value  # a matter of training, not of size
    ]
    if differing:
        raise ValueError(f"`weights` must be those of {name}. In {weights}: {'; '.join(differing)}.")


def read_checkpoint(folder: Path, name: str, family: VisionFamily | TextFamily) -> tuple[Layout, Mapping[str, Any]]:
    """The layout of a checkpoint, and its `config.json`, with sentence-transformers' pooling added as `pooling`.

    Raises:
        ValueError: it is of another architecture, or with a pooling or further modules that are not known here.
    """
    config = read_json(folder / _CONFIG)
    _refuse_more_modules(folder)
    if (folder / _POOLING).is_file():
        config["pooling"] = _pooling_of(folder / _POOLING)
    for layout in family.layouts:
        if layout.recognises(config):
            return layout, config
    found = config.get("model_type", config.get("architecture"))
    libraries = " or ".join(layout.library for layout in family.layouts)
    raise ValueError(f"{folder / _CONFIG} must be of {name}, written by {libraries}. Received: {found!r}.")


def _refuse_more_modules(folder: Path) -> None:
    """sentence-transformers may put dense layers behind the pooling: without them the embeddings are others."""
    path = folder / "modules.json"
    if not path.is_file():
        return
    modules = [str(module.get("type")).rpartition(".")[2] for module in json.loads(path.read_text(encoding="utf-8"))]
    unknown = sorted(set(modules) - {"Transformer", "Pooling", "Normalize"})
    if unknown:
        raise ValueError(f"{path} must have no modules but Transformer, Pooling, Normalize. Received: {unknown}.")


def _pooling_of(path: Path) -> str:
    """Ours of sentence-transformers' poolings, of which it may join several or have others."""
    asked = [key for key, value in read_json(path).items() if key.startswith("pooling_mode") and value]
    if len(asked) != 1 or asked[0] not in _POOLINGS:
        raise ValueError(f"{path} must ask for one of {', '.join(_POOLINGS)}. Received: {', '.join(asked) or 'none'}.")
    return _POOLINGS[asked[0]]


def checkpoint_arguments(layout: Layout, config: Mapping[str, Any], folder: Path) -> Arguments:
    """The arguments that a `config.json` asks for.

    Raises:
        ValueError: it misses a key, or asks for what is not built here.
    """
    try:
        return layout.arguments(config)
    except KeyError as error:
        raise ValueError(f"{folder / _CONFIG} must have {error}, which {layout.library} writes.") from error
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{folder / _CONFIG}: {error}") from error


def from_preset(load: Callable[[str], Any], handle: str) -> Any:
    """What keras-nlp loads for a handle.

    Raises:
        FileNotFoundError: it could not, with what to do about it where there is no network.
    """
    try:
        return load(handle)
    except Exception as error:  # Kaggle's, Hugging Face's and Keras' errors have nothing in common
        raise FileNotFoundError(
            f"there is no folder {handle}, and as a preset it cannot be loaded ({_reason(error)}). Without a network, "
            "run keras_nlp.models.Backbone.from_preset(handle).save_to_preset(folder) where there is one, for text "
            "also keras_nlp.models.Tokenizer.from_preset(handle).save_to_preset(folder), copy the folder (config.json, "
            "metadata.json, model.weights.h5, assets), and give its path."
        ) from error


def _reason(error: Exception) -> str:
    """An error's name and first line."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])[:240]
