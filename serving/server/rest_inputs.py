"""A predict request in JSON as the tensors of a signature."""

from __future__ import annotations

import base64
import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from mim_tf.serving.signature import Signature, describe

# The only names of values that are no JSON; TF Serving reads and writes them, too.
_CONSTANTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_INTEGERS = (tf.int8, tf.uint8, tf.int16, tf.int32, tf.uint32, tf.int64, tf.uint64)
# What `json` makes of a value -> the dtypes it may become, as in TF Serving: 1.0 is no integer, 1 is no truth value.
_JSON_TYPES: dict[tf.DType, set[type]] = {
    tf.bool: {bool},
    tf.string: {str, dict},
    tf.float32: {float, int},
    tf.float64: {float, int},
    **{dtype: {int} for dtype in _INTEGERS},
}


def parse_document(body: bytes) -> dict[str, Any]:
    """Reads a request's body.

    Raises:
        tf.errors.InvalidArgumentError: If it is no JSON object.
    """
    if not body:
        raise _invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8-sig"), parse_constant=_CONSTANTS.__getitem__)
    except RecursionError as error:
        raise _invalid("JSON Parse error: lists or objects are nested too deep") from error
    except ValueError as error:  # no JSON, no UTF-8, or an integer of thousands of digits
        raise _invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise _invalid(f"the request must be a JSON object. Received: {reprlib.repr(document)}.")
    return document


def read_inputs(document: Mapping[str, Any], signature: Signature) -> dict[str, tensor_pb2.TensorProto]:
    """Turns `instances` (one value or object per row) or `inputs` (one value per input) into tensors.

    A signature of one input needs no name for it. Unlike TF Serving, which ignores names it does not know among
    `inputs`, both formats need exactly the signature's names.

    Args:
        document: The request.
        signature: What the tensors are for.

    Raises:
        tf.errors.InvalidArgumentError: If the request has not the form, or a value does not fit its input.
        tf.errors.UnimplementedError: If an input has a dtype that REST cannot carry, like float16.
    """
    if ("instances" in document) == ("inputs" in document):
        raise _invalid(f'the request must have either "instances" or "inputs". Received: {sorted(document)[:10]}.')
    if not signature.inputs:
        raise _invalid("a signature without inputs cannot be called over REST; call it over gRPC.")
    if "instances" in document:
        columns = _columns_of_rows(document["instances"], signature)
    else:
        columns = _columns(document["inputs"], signature)
    return {name: _tensor(name, columns[name], spec) for name, spec in signature.inputs.items()}


def _columns_of_rows(instances: Any, signature: Signature) -> Mapping[str, Any]:
    if not isinstance(instances, list) or not instances:
        raise _invalid(f'"instances" must be a list of at least one value. Received: {reprlib.repr(instances)}.')
    if not _is_object(instances[0]):
        return {_only_name("instances", signature): instances}
    for number, instance in enumerate(instances):
        if not _is_object(instance):
            raise _invalid(f"instance {number} must be an object, as the first. Received: {reprlib.repr(instance)}.")
        _check_names(f"instance {number}", instance, signature)
    return {name: [instance[name] for instance in instances] for name in signature.inputs}


def _columns(inputs: Any, signature: Signature) -> Mapping[str, Any]:
    if not _is_object(inputs):
        return {_only_name("inputs", signature): inputs}
    _check_names('"inputs"', inputs, signature)
    return inputs


def _only_name(key: str, signature: Signature) -> str:
    """The name of the input that a plain value is for."""
    if len(signature.inputs) > 1:
        raise _invalid(f'"{key}" must name its inputs, since there are several: {describe(signature.inputs)}.')
    return next(iter(signature.inputs))


def _check_names(what: str, given: Mapping[str, Any], signature: Signature) -> None:
    if given.keys() != signature.inputs.keys():
        extra, missing = sorted(given.keys() - signature.inputs.keys()), sorted(signature.inputs.keys() - given.keys())
        raise _invalid(
            f"{what} must have exactly the inputs of the signature. Sent extra: {', '.join(extra[:10]) or 'none'}. "
            f"Missing but required: {', '.join(missing) or 'none'}. Expected: {describe(signature.inputs)}."
        )


def _tensor(name: str, value: Any, spec: tf.TensorSpec) -> tensor_pb2.TensorProto:
    expected = describe({name: spec})
    if spec.dtype not in _JSON_TYPES:
        raise tf.errors.UnimplementedError(
            None, None, f"Conversion of JSON to {expected} is not implemented; call the signature over gRPC."
        )
    try:
        shape, values = _flatten(value)
        unexpected = set(map(type, values)) - _JSON_TYPES[spec.dtype]
        if unexpected:
            raise ValueError(reprlib.repr(next(value for value in values if type(value) in unexpected)))
        array = _strings(values) if spec.dtype == tf.string else _numbers(values, spec.dtype)
    except ValueError as error:
        raise _invalid(f"input must be {expected}. Received: {error}.") from error
    return tf.make_tensor_proto(array.reshape(shape), dtype=spec.dtype)


def _flatten(value: Any) -> tuple[list[int], list[Any]]:
    """Takes nested lists apart, one dimension after the other: their shape, and the values in their order."""
    shape: list[int] = []
    values = [value]
    while values and isinstance(values[0], list):
        size = len(values[0])
        for other in values:
            if not isinstance(other, list) or len(other) != size:
                found = f"{len(other)} values" if isinstance(other, list) else reprlib.repr(other)
                raise ValueError(f"{found} where the first list of dimension {len(shape)} has {size} values")
        shape.append(size)
        values = list(chain.from_iterable(values))
    return shape, values


def _strings(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    for index, value in enumerate(values):
        array[index] = _decode_base64(value) if isinstance(value, dict) else _encode(value)
    return array


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a string with half a surrogate pair") from error


def _decode_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise ValueError(f'{reprlib.repr(value)}, which is no {{"b64": "..."}}')
    text = value["b64"]
    try:
        # Padding may be left out, as in TF Serving.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"base64 that cannot be decoded ({error})") from error


def _numbers(values: Sequence[Any], dtype: tf.DType) -> np.ndarray:
    try:
        array = np.array(values, dtype.as_numpy_dtype if not dtype.is_floating else np.float64)
    except OverflowError as error:
        raise ValueError(f"an integer that does not fit into {dtype.name}") from error
    return _floats(values, array, dtype) if dtype.is_floating else array


def _floats(values: Sequence[Any], array: np.ndarray, dtype: tf.DType) -> np.ndarray:
    """Refuses what `dtype` cannot hold, by the rules of TF Serving: integers must be exact, finite numbers finite."""
    digits = np.finfo(dtype.as_numpy_dtype).nmant + 1
    if any(type(value) is int and abs(value) >= 2**digits for value in values):
        raise ValueError(f"an integer of more than {digits} bits, which {dtype.name} would round")
    with np.errstate(over="ignore"):
        rounded = array.astype(dtype.as_numpy_dtype)
    # 1e400 is read as the infinity that `json` computes, the word Infinity as the one of ours.
    written = {id(constant) for constant in _CONSTANTS.values()}
    if any(id(values[index]) not in written for index in np.flatnonzero(np.isinf(rounded)).tolist()):
        raise ValueError(f"a number that does not fit into {dtype.name}")
    return rounded


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return value.keys() == {"b64"} and isinstance(value["b64"], str)


def _invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
