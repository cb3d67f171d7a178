"""The models of a folder: which versions there are, and which of them a request means."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import model_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.servable import Servable

_MAX_VERSION = 2**63 - 1  # a version travels as int64
_LOG = logging.getLogger(__name__)


class Models:
    """Every model of a folder in its highest version, loaded.

    The folder is laid out as `<model>/<integer version>/saved_model.pb`: what the TF Serving image expects under
    `/models`, and each `<model>` what `--model_base_path` names. Whatever is not an integer is ignored.

    Args:
        folder: The folder that holds the models.

    Raises:
        ServingError: If there is no model in the folder, or if one fails to load.
    """

    def __init__(self, folder: Path) -> None:
        self._servables = {
            name: Servable(name, version, folder / name / directory)
            for name, (version, directory) in find_models(folder).items()
        }

    def __iter__(self) -> Iterator[Servable]:
        return iter(self._servables.values())

    def get(self, name: str) -> Servable | None:
        """Returns the model of that name, or None."""
        return self._servables.get(name)

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """Returns the model that a request means.

        Raises:
            tf.errors.NotFoundError: If the model or the version is not served here.
            tf.errors.InvalidArgumentError: If the spec names no model, or a label: the stand-in has none.
        """
        check_named(spec)
        if spec.HasField("version_label"):
            raise tf.errors.InvalidArgumentError(
                None, None, f"Unrecognized servable version label: {spec.version_label}"
            )
        servable = self._servables.get(spec.name)
        if servable is None or (spec.HasField("version") and spec.version.value != servable.version):
            wanted = (
                f"Specific({spec.name}, {spec.version.value})" if spec.HasField("version") else f"Latest({spec.name})"
            )
            raise tf.errors.NotFoundError(None, None, f"Servable not found for request: {wanted}")
        return servable


def check_named(spec: model_pb2.ModelSpec) -> None:
    """Raises `tf.errors.InvalidArgumentError` unless the spec names a model."""
    if not spec.name:
        raise tf.errors.InvalidArgumentError(None, None, "Missing ModelSpec, or it has no name specified.")


def find_models(folder: Path) -> dict[str, tuple[int, str]]:
    """Finds the highest version of each model.

    Returns:
        Version and name of the version's folder (`7` may be written `0007`), by model, sorted.

    Raises:
        ServingError: If the folder does not exist or holds no model.
    """
    if not folder.is_dir():
        raise ServingError(f"`models` must be an existing folder. Received: {folder}.")
    found = {}
    for model in sorted(child for child in folder.iterdir() if child.is_dir()):
        versions = [(int(child.name), child.name) for child in model.iterdir() if _is_version(child)]
        if versions:
            found[model.name] = max(versions)
        else:
            _LOG.warning("%s is ignored: it has no integer version folder.", model)
    if not found:
        raise ServingError(_nothing_found(folder))
    return found


def _is_version(folder: Path) -> bool:
    name = folder.name
    return name.isascii() and name.isdecimal() and int(name) <= _MAX_VERSION and folder.is_dir()


def _nothing_found(folder: Path) -> str:
    """Says what was there instead of models, and what to do about it."""
    there = ", ".join(sorted(child.name for child in folder.iterdir())) or "nothing"
    if any(_is_version(child) for child in folder.iterdir()):
        remedy = f"These are versions of one model: give the folder above, {folder.resolve().parent}."
    else:
        remedy = "Export a model there first."
    rule = "`models` must be a folder that holds <model>/<integer version>/saved_model.pb."
    return f"{rule} Found in {folder}: {there}. {remedy}"
