"""The tensors of an answer as TF Serving writes them in JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

_BYTES_SUFFIX = "_bytes"  # strings of an output so named are bytes, written in base64
_INTEGERS = (tf.int8, tf.uint8, tf.int16, tf.int32, tf.uint32, tf.int64, tf.uint64)


def write_rows(outputs: Mapping[str, tensor_pb2.TensorProto]) -> bytes:
    """Writes `{"predictions": [...]}`: one object per row, or one value per row if there is but one output.

    Raises:
        tf.errors.InvalidArgumentError: If the outputs have not one first dimension, or a dtype has no form in JSON.
    """
    arrays = {name: tf.make_ndarray(proto) for name, proto in outputs.items()}
    _check_rows(arrays)
    columns = {name: _write(name, tf.as_dtype(outputs[name].dtype), array, 1) for name, array in sorted(arrays.items())}
    rows = [_join(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    return _encode("predictions", "[" + ", ".join(rows) + "]")


def write_columns(outputs: Mapping[str, tensor_pb2.TensorProto]) -> bytes:
    """Writes `{"outputs": {...}}`: each output by its name, or the value alone if there is but one.

    Raises:
        tf.errors.InvalidArgumentError: If a dtype has no form in JSON.
    """
    columns = {}
    for name, proto in sorted(outputs.items()):
        (columns[name],) = _write(name, tf.as_dtype(proto.dtype), tf.make_ndarray(proto), 0)
    return _encode("outputs", _join(columns))


def _check_rows(arrays: Mapping[str, np.ndarray]) -> None:
    sizes = {name: array.shape[0] if array.shape else None for name, array in arrays.items()}
    if len(set(sizes.values())) != 1 or not all(sizes.values()):
        listed = ", ".join(f"{name}: {list(arrays[name].shape)}" for name in sorted(arrays))
        raise _invalid(
            f"outputs must have the same first dimension, of at least 1, to be written as rows. Received: {listed}. "
            'Send "inputs" instead of "instances" to get columns.'
        )


def _write(name: str, dtype: tf.DType, array: np.ndarray, dimension: int) -> list[str]:
    """Writes the parts of an array from a dimension on, in their order."""
    if dtype not in _WRITERS:
        raise _invalid(f"Failed to write JSON value for tensor type: {dtype.name}. Call the signature over gRPC.")
    writer = _write_bytes if dtype == tf.string and name.endswith(_BYTES_SUFFIX) else _WRITERS[dtype]
    tokens = writer(array.reshape(-1))
    for axis in reversed(range(dimension, array.ndim)):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        tokens = ["[" + ", ".join(tokens[row * size : (row + 1) * size]) + "]" for row in range(count)]
    return tokens


def _write_floats(values: np.ndarray) -> list[str]:
    """Six digits where they are enough to read the same number again, else all; always with a point or an exponent."""
    shortest = np.array([f"{value:.6g}" for value in values.tolist()])
    digits = 9 if values.dtype == np.float32 else 17
    with np.errstate(over="ignore"):
        exact = shortest.astype(np.float64).astype(values.dtype) == values
    tokens = [
        text if same else f"{value:.{digits}g}"
        for text, same, value in zip(shortest.tolist(), exact.tolist(), values.tolist(), strict=True)
    ]
    return [_CONSTANTS.get(text) or (text if "." in text or "e" in text else f"{text}.0") for text in tokens]


def _write_integers(values: np.ndarray) -> list[str]:
    return list(map(str, values.tolist()))


def _write_booleans(values: np.ndarray) -> list[str]:
    return ["true" if value else "false" for value in values.tolist()]


def _write_strings(values: np.ndarray) -> list[str]:
    # What is no UTF-8 leaves as the bytes it is, as from TF Serving.
    return [json.dumps(value.decode(errors="surrogateescape"), ensure_ascii=False) for value in values.tolist()]


def _write_bytes(values: np.ndarray) -> list[str]:
    return [json.dumps({"b64": base64.b64encode(value).decode()}) for value in values.tolist()]


_CONSTANTS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_WRITERS: dict[tf.DType, Callable[[np.ndarray], list[str]]] = {
    tf.bool: _write_booleans,
    tf.string: _write_strings,
    tf.float32: _write_floats,
    tf.float64: _write_floats,
    **{dtype: _write_integers for dtype in _INTEGERS},
}


def _join(parts: Mapping[str, str]) -> str:
    """An object of the parts, or the part alone if there is but one."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in parts.items()) + "}"


def _encode(key: str, text: str) -> bytes:
    return f'{{"{key}": {text}}}\n'.encode(errors="surrogateescape")


def _invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
