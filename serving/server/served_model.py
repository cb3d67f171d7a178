"""One model as it is served at a moment, and what became of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from mim_tf.errors import ServingError
from mim_tf.serving.server.servable import Servable


@dataclass(frozen=True)
class ServedModel:
    """A model and its versions. Never changed: each method returns another one.

    A version is LOADING, then AVAILABLE, UNLOADING while requests on it are still under way, and at its END when its
    memory is free. A version that failed to load is at its END, too, with the error.

    Args:
        servables: What answers for each version.
        statuses: What GetModelStatus says of each version that there has been.
    """

    servables: Mapping[int, Servable] = field(default_factory=dict)
    statuses: Mapping[int, ModelVersionStatus] = field(default_factory=dict)

    @property
    def latest(self) -> Servable | None:
        """What answers requests that name no version: the highest; None if no version is left."""
        return self.servables[max(self.servables)] if self.servables else None

    def loading(self, version: int) -> ServedModel:
        """`version` is being loaded."""
        return self._with(_status(version, ModelVersionStatus.LOADING))

    def failed(self, version: int, error: ServingError) -> ServedModel:
        """`version` could not be loaded."""
        status = _status(version, ModelVersionStatus.END)
        # The text alone: the error holds the frames of the loading, and so what had been loaded.
        status.status.error_code, status.status.error_message = _code(error), str(error)
        return self._with(status)

    def serving(self, servable: Servable) -> ServedModel:
        """`servable` answers from now on for its version, beside the others."""
        served = {**self.servables, servable.version: servable}
        return replace(self, servables=served)._with(_status(servable.version, ModelVersionStatus.AVAILABLE))

    def dropping(self, version: int) -> ServedModel:
        """`version` takes no more requests."""
        served = {number: servable for number, servable in self.servables.items() if number != version}
        return replace(self, servables=served)._with(_status(version, ModelVersionStatus.UNLOADING))

    def ended(self, version: int) -> ServedModel:
        """The memory of `version` is free, unless it is being served again."""
        unloading = self.statuses[version].state == ModelVersionStatus.UNLOADING
        return self._with(_status(version, ModelVersionStatus.END)) if unloading else self

    def _with(self, status: ModelVersionStatus) -> ServedModel:
        return replace(self, statuses={**self.statuses, status.version: status})


def _status(version: int, state: ModelVersionStatus.State) -> ModelVersionStatus:
    return ModelVersionStatus(version=version, state=state)


def _code(error: ServingError) -> int:
    """The code that TF Serving's status would carry."""
    if isinstance(error.__cause__, tf.errors.OpError):
        return error.__cause__.error_code
    return tf.errors.NOT_FOUND if isinstance(error.__cause__, FileNotFoundError) else tf.errors.UNKNOWN
