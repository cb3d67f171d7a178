"""The files by which calls go to a process that runs a SavedModel, and results come back.

NumPy's own format would pickle strings or cut their trailing NULs. All numbers are little-endian:

    calls    "MIMCALLS", u32 count, then each call
    call     text signature, u32 inputs, each (text name, text tensor of the graph, tensor),
             u32 outputs, each (text name, text tensor of the graph)
    results  "MIMRESLT", u32 count, then each result
    result   text error ("" if there is none), u32 outputs, each (text name, tensor)
    text     u64 bytes, the bytes
    tensor   u32 tensorflow.DataType, u32 rank, i64 size of each dimension, the values row by row; a string is a text

`run_saved_model.cc` reads and writes the same. This module needs NumPy and ml_dtypes alone, which
TensorFlow brings: `run_saved_model.py` imports it where `mim_tf` cannot be imported.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from ml_dtypes import bfloat16

_CALLS, _RESULTS = b"MIMCALLS", b"MIMRESLT"

_STRING = 7
_DTYPES = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    8: np.complex64,
    9: np.int64,
    10: np.bool_,
    14: bfloat16,
    17: np.uint16,
    18: np.complex128,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}
_NUMBERS = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}


class Call(NamedTuple):
    """A call of a signature.

    Args:
        signature: its name.
        inputs: values by the input's name.
        feeds: the graph's tensor of each input, as `operation:0`.
        fetches: the graph's tensor of each output, by the output's name.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]
    feeds: Mapping[str, str]
    fetches: Mapping[str, str]


class Result(NamedTuple):
    """What came of a call: outputs by name, or an error."""

    outputs: Mapping[str, np.ndarray]
    error: str = ""


def write_calls(path: Path, calls: Sequence[Call]) -> None:
    """Write calls, to be made in this order.

    Raises:
        TypeError: an input is of a dtype that TensorFlow does not have.
    """
    with path.open("wb") as file:
        file.write(_CALLS)
        _write_count(file, len(calls))
        for call in calls:
            _write_text(file, call.signature.encode())
            _write_count(file, len(call.inputs))
            for name, values in call.inputs.items():
                _write_text(file, name.encode())
                _write_text(file, call.feeds[name].encode())
                _write_tensor(file, values)
            _write_count(file, len(call.fetches))
            for name, tensor in call.fetches.items():
                _write_text(file, name.encode())
                _write_text(file, tensor.encode())


def read_calls(path: Path) -> list[Call]:
    """Read what `write_calls` wrote.

    Raises:
        ValueError: it is another file, or ends too soon.
    """
    with path.open("rb") as file:
        return [_read_call(file) for _ in range(_read_header(file, _CALLS))]


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write a result per call.

    Raises:
        TypeError: an output is of a dtype that TensorFlow does not have.
    """
    with path.open("wb") as file:
        file.write(_RESULTS)
        _write_count(file, len(results))
        for result in results:
            _write_text(file, result.error.encode())
            _write_count(file, len(result.outputs))
            for name, values in result.outputs.items():
                _write_text(file, name.encode())
                _write_tensor(file, values)


def read_results(path: Path) -> list[Result]:
    """Read what `write_results` or the C++ program wrote.

    Raises:
        ValueError: it is another file, or ends too soon.
    """
    with path.open("rb") as file:
        return [_read_result(file) for _ in range(_read_header(file, _RESULTS))]


def as_tensor_values(values: np.ndarray) -> np.ndarray:
    """`values` as they come back from a file: strings as an object array of `bytes`."""
    values = np.asarray(values)
    if values.dtype.kind not in "OSU":
        return values
    texts = np.empty(values.shape, object)
    for index, text in np.ndenumerate(values):
        texts[index] = text.encode() if isinstance(text, str) else bytes(text)
    return texts


def _read_call(file: BinaryIO) -> Call:
    signature, inputs, feeds = _read_text(file).decode(), {}, {}
    for _ in range(_read_count(file)):
        name = _read_text(file).decode()
        feeds[name] = _read_text(file).decode()
        inputs[name] = _read_tensor(file)
    fetches = [(_read_text(file).decode(), _read_text(file).decode()) for _ in range(_read_count(file))]
    return Call(signature, inputs, feeds, dict(fetches))


def _read_result(file: BinaryIO) -> Result:
    error = _read_text(file).decode(errors="replace")
    outputs = [(_read_text(file).decode(), _read_tensor(file)) for _ in range(_read_count(file))]
    return Result(dict(outputs), error)


def _write_tensor(file: BinaryIO, values: np.ndarray) -> None:
    values = as_tensor_values(values)
    number = _STRING if values.dtype == object else _NUMBERS.get(values.dtype)
    if number is None:
        raise TypeError(f"`values` must have a dtype of TensorFlow's. Received: {values.dtype}.")
    file.write(struct.pack(f"<II{values.ndim}q", number, values.ndim, *values.shape))
    if number == _STRING:
        for text in values.flat:
            _write_text(file, text)
    else:
        file.write(values.tobytes())


def _read_tensor(file: BinaryIO) -> np.ndarray:
    number, rank = struct.unpack("<II", _read(file, 8))
    shape = struct.unpack(f"<{rank}q", _read(file, 8 * rank))
    if number == _STRING:
        texts = np.empty(shape, object)
        for index in np.ndindex(shape):
            texts[index] = _read_text(file)
        return texts
    if number not in _DTYPES:
        raise ValueError(f"A tensor must have one of the data types {sorted(_DTYPES)}. Received: {number}.")
    dtype = np.dtype(_DTYPES[number])
    return np.frombuffer(_read(file, dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)


def _write_text(file: BinaryIO, text: bytes) -> None:
    file.write(struct.pack("<Q", len(text)))
    file.write(text)


def _read_text(file: BinaryIO) -> bytes:
    return _read(file, struct.unpack("<Q", _read(file, 8))[0])


def _write_count(file: BinaryIO, count: int) -> None:
    file.write(struct.pack("<I", count))


def _read_count(file: BinaryIO) -> int:
    return struct.unpack("<I", _read(file, 4))[0]


def _read_header(file: BinaryIO, magic: bytes) -> int:
    found = _read(file, len(magic))
    if found != magic:
        raise ValueError(f"The file must begin with {magic.decode()}. Received: {found!r}.")
    return _read_count(file)


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError(f"The file ends too soon: {size} bytes must follow. Received: {len(data)}.")
    return data
