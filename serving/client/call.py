"""What is asked of a server: a request of TF Serving's API, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from mim_tf.serving.signature import Signature
from mim_tf.serving.tensor_protos import to_proto

_Answer = TypeVar("_Answer", covariant=True)
_State = get_model_status_pb2.ModelVersionStatus.State

# Whether a call that ended without an answer took place is unknown, and one that did may still be under way. All
# signatures but this one only read. A table takes the repetition of a change, but not beside the change itself, nor
# after another one (`EmbeddingTable.upsert`), and with a `sequence` it refuses it: a change that was made would look
# like one that failed. Only who sends a change can ask for the table's `version` and go on from there.
_CHANGING = {"upsert"}


@dataclass(frozen=True)
class Call(Generic[_Answer]):
    """One request to one model.

    Args:
        method: Name of the gRPC method.
        request: Its message.
        model: Name of the model.
        repeatable: Whether it may be sent again when nobody knows whether it arrived.
        read: Makes the answer of the answer's message.
    """

    method: str
    request: Any
    model: str
    repeatable: bool
    read: Callable[[Any], _Answer]


def predict_call(
    model: str,
    inputs: Mapping[str, ArrayLike],
    *,
    signature: str,
    version: int | None,
    label: str | None,
    outputs: Sequence[str] | None,
) -> Call[dict[str, np.ndarray]]:
    """Asks for a signature's outputs, as `Client.predict` documents."""
    request = predict_pb2.PredictRequest(
        model_spec=_spec(model, version, label, signature),
        inputs={name: _to_proto(name, value) for name, value in inputs.items()},
        output_filter=outputs or (),
    )
    return Call("Predict", request, model, signature not in _CHANGING, _outputs)


def versioned(call: Call[dict[str, np.ndarray]]) -> Call[tuple[int, dict[str, np.ndarray]]]:
    """The same call, which also answers with the version of the model that the outputs are of."""

    def read(response: predict_pb2.PredictResponse) -> tuple[int, dict[str, np.ndarray]]:
        return response.model_spec.version.value, call.read(response)

    return Call(call.method, call.request, call.model, call.repeatable, read)


def status_call(model: str) -> Call[dict[int, str]]:
    """Asks for the state of each version of a model."""
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(model))
    return Call("GetModelStatus", request, model, True, _states)


def metadata_call(model: str, *, version: int | None, label: str | None) -> Call[dict[str, Signature]]:
    """Asks for a model's signatures."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=_spec(model, version, label), metadata_field=["signature_def"]
    )
    return Call("GetModelMetadata", request, model, True, _signatures)


def _spec(model: str, version: int | None = None, label: str | None = None, signature: str = "") -> model_pb2.ModelSpec:
    if version is not None and label is not None:
        raise ValueError(f"`version` and `label` must not both be given. Received: {version} and {label!r}.")
    spec = model_pb2.ModelSpec(name=model, signature_name=signature, version_label=label)
    if version is not None:
        spec.version.value = version
    return spec


def _outputs(response: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def _states(response: get_model_status_pb2.GetModelStatusResponse) -> dict[int, str]:
    return {status.version: _State.Name(status.state) for status in response.model_version_status}


def _signatures(response: get_model_metadata_pb2.GetModelMetadataResponse) -> dict[str, Signature]:
    found = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    # TensorFlow keeps its own initialiser among them, under a name with two leading underscores.
    names = sorted(name for name in found.signature_def if not name.startswith("__"))
    return {name: Signature.from_proto(found.signature_def[name]) for name in names}


def _to_proto(name: str, value: ArrayLike) -> tensor_pb2.TensorProto:
    """Converts one input as `Client.predict` documents."""
    try:
        array = np.asarray(value)
        if array.dtype.kind in "SUO":
            # NumPy's own strings lose trailing zero bytes, as of an image.
            array = _encoded(np.asarray(value, dtype=object))
        elif array.dtype == np.float64 and not hasattr(value, "dtype"):
            array = array.astype(np.float32)
        return to_proto(array)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'`inputs["{name}"]` must be an array of numbers or strings, all rows of one length. Received: {value!r}.'
        ) from error


def _encoded(texts: np.ndarray) -> np.ndarray:
    encoded = [text.encode() if isinstance(text, str) else text for text in texts.ravel().tolist()]
    return np.array([*encoded, None], object)[:-1].reshape(texts.shape)
