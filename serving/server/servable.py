"""One loaded version of one model, answering requests as TF Serving's predictor does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the ops of tokenisers, which stock servers have too
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.server.batch import Tensors
from mim_tf.serving.server.batch_scheduler import BatchScheduler
from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.unloading import destroy_tables, free_memory
from mim_tf.serving.server.warmup import warm_up
from mim_tf.serving.signature import Signature, describe, describe_shape
from mim_tf.serving.tensor_protos import to_proto, whole_tensor

_MOST_REPEATED = 2**20  # elements of a tensor that may have fewer values


class Servable:
    """A SavedModel in memory.

    Requests that do not fit a signature raise the `tf.errors` class whose code TF Serving answers with. Shapes are
    checked against the signature before anything runs; TF Serving meets a wrong shape only inside the graph.

    Args:
        name: Name of the model.
        version: Its version.
        folder: The version's folder, which holds `saved_model.pb` and perhaps requests to be warmed up with.
        metrics: Where the load and the runs are counted.
        batches: Joins requests; None if each is run alone.

    Raises:
        ServingError: If the folder holds no SavedModel that TensorFlow can load, or if it refuses a warm-up request.
    """

    def __init__(
        self,
        name: str,
        version: int,
        folder: Path,
        metrics: ServerMetrics | None = None,
        batches: BatchScheduler | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.requests = 0  # under way: `Models.leased` counts them
        self._metrics = metrics or ServerMetrics()
        self._batches = batches
        self._model: Any = None  # none before it is loaded, and after it is unloaded
        try:
            with self._metrics.load(str(folder)):
                self._load(folder)
            with self._metrics.warmup(str(folder)):
                warm_up(folder, lambda request: self.predict(request.model_spec.signature_name, request.inputs))
        # A damaged SavedModel surfaces as almost any class: OSError, DecodeError, KeyError, tf.errors.
        except Exception as error:
            self.unload()  # what was loaded before the warm-up failed
            reason = str(error).strip().split("\n")[0]
            raise ServingError(
                f'model "{name}" version {version} cannot be loaded from {folder}: {type(error).__name__}: {reason}. '
                "Export it again, or move the folder away."
            ) from error

    def _load(self, folder: Path) -> None:
        self.signature_defs = _read_signature_defs(folder / "saved_model.pb")
        self._model = tf.saved_model.load(str(folder))
        self.signatures = {
            key: Signature.from_proto(self.signature_defs[key]) for key in sorted(self._model.signatures)
        }

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, tensor_pb2.TensorProto],
        output_filter: Iterable[str] = (),
        deadline: float = math.inf,
    ) -> dict[str, tensor_pb2.TensorProto]:
        """Runs one signature.

        Args:
            signature_name: Which signature; an empty name means `serving_default`.
            inputs: Every input of the signature, by name.
            output_filter: Names of the outputs wanted; none given means all.
            deadline: Until when it may wait to be joined to others, by the monotonic clock in seconds.

        Returns:
            The outputs by name.

        Raises:
            tf.errors.FailedPreconditionError: If the model has no such signature.
            tf.errors.InvalidArgumentError: If an input or a wanted output does not fit the signature.
            tf.errors.DeadlineExceededError: If it waited to be joined for too long.
            tf.errors.OpError: Whatever the graph itself raises.
        """
        signature_name = signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if signature_name not in self.signatures:
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f'Serving signature key "{signature_name}" not found. Known: {", ".join(self.signatures)}.',
            )
        signature = self.signatures[signature_name]
        wanted = _check_outputs(list(output_filter), signature)
        tensors = _parse_inputs(inputs, signature)
        if self._batches is None:
            outputs = self.run(signature_name, tensors)
        else:
            outputs = self._batches.run(self, signature_name, tensors, deadline)
        return {
            name: to_proto(np.asarray(outputs[name].numpy(), outputs[name].dtype.as_numpy_dtype)) for name in wanted
        }

    def run(self, signature_name: str, tensors: Tensors) -> Tensors:
        """Runs one signature on tensors that fit it, and returns all its outputs.

        Raises:
            tf.errors.OpError: Whatever the graph itself raises.
        """
        with self._metrics.run(self.name):
            return self._model.signatures[signature_name](**tensors)

    def unload(self) -> None:
        """Gives back the memory. No request may be under way, and none can be answered any more."""
        if self._model is not None:
            destroy_tables(self._model)
        self._model = None
        free_memory()


def _read_signature_defs(path: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Reads the signatures as written, which GetModelMetadata must return unchanged."""
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in saved_model.meta_graphs:
        if tf.saved_model.SERVING in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError(f'no graph in it is tagged "{tf.saved_model.SERVING}"')


def _check_outputs(output_filter: list[str], signature: Signature) -> list[str]:
    """Returns the names of the outputs to send."""
    for name in output_filter:
        if name not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {name}. "
                f"Outputs expected to be in the set {_braces(signature.outputs)}."
            )
        if output_filter.count(name) > 1:
            raise _invalid(f"duplicate output tensor alias: {name}")
    return output_filter or list(signature.outputs)


def _parse_inputs(inputs: Mapping[str, tensor_pb2.TensorProto], signature: Signature) -> dict[str, tf.Tensor]:
    """Returns the request's tensors, which are exactly those of the signature."""
    if set(inputs) != set(signature.inputs):
        raise _invalid(
            f"input size does not match signature: {len(inputs)} inputs {_braces(inputs)} were sent. "
            f"Sent extra: {_braces(set(inputs) - set(signature.inputs))}. "
            f"Missing but required: {_braces(set(signature.inputs) - set(inputs))}. "
            f"Expected: {describe(signature.inputs)}."
        )
    return {name: _parse(name, inputs[name], spec) for name, spec in signature.inputs.items()}


def _parse(name: str, proto: tensor_pb2.TensorProto, spec: tf.TensorSpec) -> tf.Tensor:
    """Returns one input as a tensor of the signature's dtype, and of a shape that fits it."""
    if proto.dtype != spec.dtype.as_datatype_enum:
        raise _invalid(f"input must be {describe({name: spec})}. Received: {_dtype_name(proto.dtype)}.")
    tensor = whole_tensor(proto, spec.dtype)
    if tensor is None:
        tensor = _parse_other(name, proto, spec)
    if not spec.shape.is_compatible_with(tensor.shape):
        raise _invalid(f"input must be {describe({name: spec})}. Received: shape {describe_shape(tensor.shape)}.")
    return tensor


def _parse_other(name: str, proto: tensor_pb2.TensorProto, spec: tf.TensorSpec) -> tf.Tensor:
    """Returns what may have fewer values than elements, or more, or none."""
    serialized = proto.SerializeToString()
    # Where values are missing the last one is repeated, so that a few bytes could fill the memory. No value takes none.
    size = math.prod(dimension.size for dimension in proto.tensor_shape.dim)
    if size > max(_MOST_REPEATED, len(serialized)):
        raise _invalid(
            f"input of more than {_MOST_REPEATED} elements must bring its values: {describe({name: spec})}. "
            f"Received: {size} elements in {len(serialized)} bytes."
        )
    try:
        # TensorFlow's own parser, as in TF Serving: it refuses negative sizes and too many values.
        return tf.io.parse_tensor(serialized, spec.dtype)
    except tf.errors.OpError as error:
        raise _invalid(f"tensor parsing error: {name}. Expected: {describe({name: spec})}.") from error


def _dtype_name(number: int) -> str:
    """Names a dtype as clients do; a request may carry any number."""
    known = number in types_pb2.DataType.values() and number != types_pb2.DT_INVALID
    return tf.as_dtype(number).name if known else f"dtype number {number}"


def _braces(names: Iterable[str]) -> str:
    return "{" + ", ".join(sorted(names)) + "}"


def _invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
