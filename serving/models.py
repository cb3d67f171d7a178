"""What is served, and which of it a request means."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import model_pb2

from mim_tf.serving.servable import Servable
from mim_tf.serving.served_model import ServedModel
from mim_tf.serving.version_folders import find_models


class Models:
    """Every model of a folder in one version: the highest there was, until `replace` puts another in its place.

    The folder is laid out as `<model>/<integer version>/saved_model.pb`: what the TF Serving image expects under
    `/models`, and each `<model>` what `--model_base_path` names. Whatever is not an integer is ignored.

    Any number of threads may ask at once, while one thread replaces: what they read is one mapping, which is never
    changed, only replaced by another. Who runs a request leases what answers it, so that it stays loaded.

    Args:
        folder: The folder that holds the models.

    Raises:
        ServingError: If there is no model in the folder, or if one fails to load.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()  # between finding what answers and counting the request
        self._current: Mapping[str, ServedModel] = {
            name: ServedModel.of(Servable(name, *found)) for name, found in find_models(folder).items()
        }

    @property
    def current(self) -> Mapping[str, ServedModel]:
        """The models at this moment by name, sorted; a model stays in it when no version of it is left."""
        return self._current

    def replace(self, name: str, model: ServedModel) -> None:
        """Puts `model` in the place of the one of that name, for all requests from now on. For one thread only.

        The requests of what is replaced can only become fewer from then on.
        """
        with self._lock:
            self._current = {**self._current, name: model}

    @contextmanager
    def leased(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """What answers the requests of a spec, counted as in use until the block ends.

        Raises:
            tf.errors.OpError: As `find`.
        """
        with self._lock:
            servable = self.find(spec)
            servable.requests += 1
        try:
            yield servable
        finally:
            with self._lock:
                servable.requests -= 1

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """Returns what answers the requests of a spec.

        Raises:
            tf.errors.NotFoundError: If the model or the version is not served here.
            tf.errors.InvalidArgumentError: If the spec names no model, or a label: the stand-in has none.
        """
        check_named(spec)
        if spec.HasField("version_label"):
            raise tf.errors.InvalidArgumentError(
                None, None, f"Unrecognized servable version label: {spec.version_label}"
            )
        model = self._current.get(spec.name)
        servable = model.servable if model is not None else None
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
