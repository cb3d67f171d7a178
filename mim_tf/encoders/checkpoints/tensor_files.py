"""A folder as Hugging Face and timm write it: `config.json` beside `model.safetensors`, whole or in shards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"  # of weights in several files


class TensorFiles:
    """The tensors of a folder by name, read one at a time.

    Args:
        folder: holds `model.safetensors`, or its shards and `model.safetensors.index.json`.

    Raises:
        FileNotFoundError: there are no weights, or a shard is missing.
        ValueError: a file is no safetensors file.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._places: dict[str, tuple[Any, str]] = {}
        for path in _weight_files(folder):
            try:
                file = safe_open(path, framework="numpy")
            except SafetensorError as error:
                raise ValueError(f"{path} is no whole safetensors file ({error}). Copy it again.") from error
            self._places.update({_modern(name): (file, name) for name in file.keys()})  # noqa: SIM118 - no mapping

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        file, saved_as = self._places[name]
        return tuple(file.get_slice(saved_as).get_shape())

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32, whatever precision it was saved in."""
        file, saved_as = self._places[name]
        return np.asarray(file.get_tensor(saved_as), np.float32)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object. Received: {type(content).__name__}.")
    return content


def _modern(name: str) -> str:
    """BERT's oldest checkpoints, such as bert-base-uncased, name the parameters of their norms as TensorFlow does."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).is_file():
        others = sorted(path.name for path in folder.glob("*.bin")) + sorted(path.name for path in folder.glob("*.pt*"))
        hint = f" Its {', '.join(others)} may run code when read: save them as safetensors first." if others else ""
        raise FileNotFoundError(f"{folder} must hold {_WEIGHTS}, or {_INDEX} and its shards.{hint}")
    shards = sorted(set(read_json(folder / _INDEX).get("weight_map", {}).values()))
    outside = [shard for shard in shards if Path(shard).name != shard]
    if outside:
        raise ValueError(f"{folder / _INDEX} must name files beside it. Received: {', '.join(outside)}.")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing or not shards:
        raise FileNotFoundError(f"{folder} must hold all shards of {_INDEX}. Missing: {', '.join(missing) or 'all'}.")
    return [folder / shard for shard in shards]
