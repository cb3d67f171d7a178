"""What is served, and which of it a request means."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import tensorflow as tf
from tensorflow_serving.apis import model_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.server.batch_scheduler import BatchScheduler
from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.model_config import ModelConfig
from mim_tf.serving.server.servable import Servable
from mim_tf.serving.server.served_model import ServedModel
from mim_tf.serving.server.version_folders import VersionFolder


class Models:
    """The models that are served, each in the versions and under the labels that its `ModelConfig` asks for.

    Any number of threads may ask at once, while one thread changes what is served: what they read is one mapping,
    which is never changed, only replaced by another. Who runs a request leases what answers it, so that it stays
    loaded.

    Args:
        configs: The models by name; all versions that they ask for are loaded at once.
        metrics: Where loads and runs are counted.
        batches: Joins requests; None if each is run alone.

    Raises:
        ServingError: If a version that is asked for, or has a label, is not there or fails to load.
    """

    def __init__(
        self,
        configs: Mapping[str, ModelConfig],
        metrics: ServerMetrics | None = None,
        batches: BatchScheduler | None = None,
    ) -> None:
        self.configs = configs
        self._metrics = metrics or ServerMetrics()
        self._batches = batches
        self._lock = threading.Lock()  # between finding what answers and counting the request
        self._labels: Mapping[tuple[str, str], int] = {}
        self._current: Mapping[str, ServedModel] = {}
        try:
            for name, config in configs.items():
                for found in config.wanted_at_start().values():
                    model = self._current.get(name, ServedModel())
                    self.replace(name, model.serving(self.load(name, found)))
                self.assign_labels(name)
        except BaseException:  # Ctrl-C, too
            self.unload()
            raise

    @property
    def current(self) -> Mapping[str, ServedModel]:
        """The models at this moment by name; a model stays in it when no version of it is left."""
        return self._current

    @property
    def labels(self) -> Mapping[tuple[str, str], int]:
        """The version by model and label."""
        return self._labels

    def load(self, name: str, found: VersionFolder) -> Servable:
        """Loads and warms up a version. It answers nobody before it is put in place by `replace`.

        Raises:
            ServingError: If it cannot be loaded, or refuses one of the requests that it brings along.
        """
        return Servable(name, *found, self._metrics, self._batches)

    def replace(self, name: str, model: ServedModel) -> None:
        """Puts `model` in the place of the one of that name, for all requests from now on. For one thread only.

        The requests of what is replaced can only become fewer from then on.
        """
        with self._lock:
            self._current = {**self._current, name: model}
        self._metrics.models.add(name)

    def assign_labels(self, name: str) -> None:
        """Makes the labels of a model those of `configs`, all of them or none.

        Raises:
            ServingError: If a label is to be given to a version that is not available.
        """
        config = self.configs.get(name)
        served = self._current.get(name, ServedModel()).servables
        labels = {key: version for key, version in self._labels.items() if key[0] != name}
        for label, version in config.labels.items() if config is not None else ():
            if version not in served:
                raise ServingError(
                    f'Request to assign label "{label}" to version {version} of model {name}, which is not '
                    "currently available for inference. Its labels stay as they are."
                )
            labels[name, label] = version
        self._labels = labels

    def unload(self) -> None:
        """Serves nothing from now on, and unloads what no request is under way on."""
        with self._lock:
            current, self._current, self._labels = self._current, {}, {}
        for model in current.values():
            for servable in model.servables.values():
                if not servable.requests:
                    servable.unload()

    def version_of(self, spec: model_pb2.ModelSpec) -> int | None:
        """Returns the version that a spec names, by number or by label; None if it names none.

        Raises:
            tf.errors.InvalidArgumentError: If there is no such label.
        """
        if spec.HasField("version_label"):
            version = self._labels.get((spec.name, spec.version_label))
            if version is None:
                message = f"Unrecognized servable version label: {spec.version_label}"
                raise tf.errors.InvalidArgumentError(None, None, message)
            return version
        return spec.version.value if spec.HasField("version") else None

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
            tf.errors.InvalidArgumentError: If the spec names no model, or a label that there is not.
        """
        check_named(spec)
        version = self.version_of(spec)
        model = self._current.get(spec.name, ServedModel())
        servable = model.latest if version is None else model.servables.get(version)
        if servable is None:
            wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
            raise tf.errors.NotFoundError(None, None, f"Servable not found for request: {wanted}")
        return servable


def check_named(spec: model_pb2.ModelSpec) -> None:
    """Raises `tf.errors.InvalidArgumentError` unless the spec names a model."""
    if not spec.name:
        raise tf.errors.InvalidArgumentError(None, None, "Missing ModelSpec, or it has no name specified.")
