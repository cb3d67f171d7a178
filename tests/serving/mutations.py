"""Requests that are almost right, drawn from valid ones: of bytes, of messages and of JSON."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.serving.ragged_ranker import IMAGE, INPUTS

INTEGERS = (0, 1, -1, -2, 2, 3, 7, 127, 2**15, 2**31 - 1, 2**31, 2**40, 2**53 + 1, 2**62, 2**63 - 1, -(2**63))


def message(inputs: dict[str, Any], signature: str) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()})
    request.model_spec.name = "ranker"
    request.model_spec.signature_name = signature
    return request


# As many behaviours as rows, since inputs are joined only if they have one first dimension. Row 0: (1, 2) with itself
# is 5. Row 1: (3, 4) with itself is 25, times 0.5.
RANK = INPUTS | {"history_item_id": np.array([7, 8]), "history_length": np.array([1, 1])}
SCORE = [5.0, 12.5]
VALID = [
    message(RANK, ""),
    message({"image": np.array([IMAGE, IMAGE], object)}, "embed"),
    message({"content": np.float16([[1, 2], [3, 4]])}, "half"),
]
DTYPES = {name: tf.as_dtype(proto.dtype) for request in VALID for name, proto in request.inputs.items()}
COLUMNS = {name: array.tolist() for name, array in RANK.items() if array.dtype != object} | {"category": ["a", "b"]}
DOCUMENTS = [
    {"inputs": COLUMNS},
    {"signature_name": "embed", "instances": [{"b64": "iVBORw0KGgo="}, "garbage"]},
    {"signature_name": "half", "inputs": {"content": [[1.0, 2.0]]}},
]


# --- what becomes of bytes -------------------------------------------------------------------------------------------


def flip_bits(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def take_out(data: bytearray, draw: random.Random) -> None:
    begin = draw.randrange(len(data))
    del data[begin : begin + draw.randint(1, 16)]


def repeat(data: bytearray, draw: random.Random) -> None:
    begin = draw.randrange(len(data))
    part = data[begin : begin + draw.randint(1, 32)]
    data[begin:begin] = part * draw.randint(1, 50)


def put_in(data: bytearray, draw: random.Random) -> None:
    begin = draw.randrange(len(data))
    data[begin:begin] = draw.randbytes(draw.randint(1, 16))


def lengthen(data: bytearray, draw: random.Random) -> None:
    """Changes a byte to its neighbour or to an extreme: lengths and sizes are small bytes."""
    at = draw.randrange(len(data))
    data[at] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, (data[at] + 1) % 256, (data[at] - 1) % 256])


BYTES: list[Callable[[bytearray, random.Random], None]] = [flip_bits, cut, take_out, repeat, put_in, lengthen]


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        if mutated:
            draw.choice(BYTES)(mutated, draw)
    return bytes(mutated)


# --- what becomes of messages ----------------------------------------------------------------------------------------


def change_tensor(request: predict_pb2.PredictRequest, draw: random.Random) -> None:
    """Gives an input another dtype, shape, version or content."""
    proto = request.inputs[draw.choice(sorted(request.inputs))]
    kind = draw.randrange(6)
    if kind == 0:
        proto.dtype = draw.choice([*range(32), *range(100, 132), 2**31 - 1, -1])
    elif kind == 1 and proto.tensor_shape.dim:
        draw.choice(proto.tensor_shape.dim).size = draw.choice(INTEGERS)
    elif kind == 2:
        proto.tensor_shape.dim.add().size = draw.choice(INTEGERS)
    elif kind == 3:  # without content, the last of what `kind == 4` adds is repeated until the shape is full
        proto.tensor_content = draw.randbytes(draw.choice([0, 0, 0, 1, 7, 8, 15, 16, 17, 24, 1000]))
    elif kind == 4:
        proto.int64_val.extend(draw.choices(INTEGERS, k=draw.randint(1, 5)))
        proto.string_val.append(draw.randbytes(draw.randint(0, 20)))
        proto.half_val.append(draw.randrange(2**31))
    else:
        proto.tensor_shape.unknown_rank = True
        proto.version_number = draw.randrange(2**31)


def change_values(request: predict_pb2.PredictRequest, draw: random.Random) -> None:
    """Puts other numbers into an input of numbers, and other bytes into one of strings."""
    name = draw.choice(sorted(request.inputs))
    dtype = DTYPES.get(name, tf.int64)
    size = draw.choice([0, 1, 2, 3, 5])
    if dtype == tf.string:
        values = np.array([draw.choice([IMAGE, b"", draw.randbytes(50)]) for _ in range(size)], object)
    else:
        with np.errstate(over="ignore"):
            values = np.array(draw.choices(INTEGERS, k=size)).astype(dtype.as_numpy_dtype)
    request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype=dtype))


def swap_inputs(request: predict_pb2.PredictRequest, draw: random.Random) -> None:
    """Gives one input what another had, or a name that none has."""
    names = sorted(request.inputs)
    request.inputs[draw.choice([*names, "", "page", "item_id"])].CopyFrom(request.inputs[draw.choice(names)])


def leave_out(request: predict_pb2.PredictRequest, draw: random.Random) -> None:
    del request.inputs[draw.choice(sorted(request.inputs))]


def change_spec(request: predict_pb2.PredictRequest, draw: random.Random) -> None:
    spec = request.model_spec
    kind = draw.randrange(5)
    if kind == 0:
        spec.name = draw.choice(["", "ranker\0", "../ranker", "x" * 5000, "ранкер"])
    elif kind == 1:
        spec.version.value = draw.choice(INTEGERS)
    elif kind == 2:
        spec.version_label = draw.choice(["", "stable", "\0"])
    elif kind == 3:
        spec.signature_name = draw.choice(["embed", "half", "__saved_model_init_op", "x" * 5000])
    else:
        request.output_filter.extend(draw.choices(["score", "category", "", "x" * 5000], k=2))


FIELDS = [change_tensor, change_tensor, change_values, change_values, swap_inputs, leave_out, change_spec]


def mutate_message(draw: random.Random) -> bytes:
    request = predict_pb2.PredictRequest()
    request.CopyFrom(draw.choice(VALID))
    for _ in range(draw.randint(1, 3)):
        if request.inputs:
            draw.choice(FIELDS)(request, draw)
    return request.SerializeToString()


def mutated_request(draw: random.Random) -> bytes:
    kind = draw.random()
    if kind < 0.6:
        return mutate_message(draw)
    if kind < 0.9:
        return mutate_bytes(draw.choice(VALID).SerializeToString(), draw)
    # Two messages one behind the other are one, with what both have.
    return draw.choice(VALID).SerializeToString() + mutate_message(draw)


# --- what becomes of JSON --------------------------------------------------------------------------------------------

VALUES = [None, True, 1.5, -1, 10**30, 2**63, float("nan"), float("inf"), "", "7", "\ud800", [], {}, [[]], {"b64": "@"}]


def mutate_value(value: Any, draw: random.Random) -> Any:
    """Puts something else in one place of a document."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        name = draw.choice(sorted(value))
        return {**value, name: mutate_value(value[name], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        return [*value[:at], mutate_value(value[at], draw), *value[at + draw.randint(0, 1) :]]
    return draw.choice(VALUES)


def mutated_body(draw: random.Random) -> bytes:
    document = draw.choice(DOCUMENTS)
    if draw.random() < 0.5:
        return json.dumps(mutate_value(document, draw)).encode()
    return mutate_bytes(json.dumps(document).encode(), draw)
