"""One model as it is served at a moment, and what became of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from mim_tf.errors import ServingError
from mim_tf.serving.servable import Servable


@dataclass(frozen=True)
class ServedModel:
    """What answers for a model, and the state of each of its versions. Never changed: each method returns another one.

    A version is LOADING, then AVAILABLE, UNLOADING while requests on it are still under way, and at its END when its
    memory is free. A version that failed to load is at its END, too, with the error.

    Args:
        servable: What answers; None if no version is left.
        statuses: What GetModelStatus says of each version, by version.
    """

    servable: Servable | None
    statuses: Mapping[int, ModelVersionStatus]

    @classmethod
    def of(cls, servable: Servable) -> ServedModel:
        """The model of a server that starts."""
        return cls(None, {}).serving(servable)

    def loading(self, version: int) -> ServedModel:
        """`version` is being loaded; what answers stays."""
        return self._with({version: _status(version, ModelVersionStatus.LOADING)})

    def failed(self, version: int, error: ServingError) -> ServedModel:
        """`version` could not be loaded; what answers stays."""
        status = _status(version, ModelVersionStatus.END)
        # The text alone: the error holds the frames of the loading, and so what had been loaded.
        status.status.error_code, status.status.error_message = _code(error), str(error)
        return self._with({version: status})

    def serving(self, servable: Servable | None) -> ServedModel:
        """`servable` answers from now on, nothing if it is None; what answered before takes no more requests."""
        statuses = {}
        if self.servable is not None:
            statuses[self.servable.version] = _status(self.servable.version, ModelVersionStatus.UNLOADING)
        if servable is not None:
            statuses[servable.version] = _status(servable.version, ModelVersionStatus.AVAILABLE)
        return ServedModel(servable, {**self.statuses, **statuses})

    def ended(self, version: int) -> ServedModel:
        """The memory of `version` is free, unless it is being served again."""
        unloading = self.statuses[version].state == ModelVersionStatus.UNLOADING
        return self._with({version: _status(version, ModelVersionStatus.END)}) if unloading else self

    def _with(self, statuses: Mapping[int, ModelVersionStatus]) -> ServedModel:
        return ServedModel(self.servable, {**self.statuses, **statuses})


def _status(version: int, state: ModelVersionStatus.State) -> ModelVersionStatus:
    return ModelVersionStatus(version=version, state=state)


def _code(error: ServingError) -> int:
    """The code that TF Serving's status would carry."""
    if isinstance(error.__cause__, tf.errors.OpError):
        return error.__cause__.error_code
    return tf.errors.NOT_FOUND if isinstance(error.__cause__, FileNotFoundError) else tf.errors.UNKNOWN
