"""Tensors to JSON, compared with what Python's own parser reads, and with the forms TF Serving's source gives."""

import json
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.serving.server.rest_outputs import write_columns, write_rows


def protos(**arrays: Any) -> dict[str, Any]:
    return {name: tf.make_tensor_proto(array) for name, array in arrays.items()}


def test_rows_and_columns_of_several_outputs() -> None:
    outputs = protos(score=np.float32([0.5, 2]), item=np.array([[1, 2], [3, 4]]), name=[b"a", b"b"])
    assert json.loads(write_rows(outputs)) == {
        "predictions": [{"item": [1, 2], "name": "a", "score": 0.5}, {"item": [3, 4], "name": "b", "score": 2.0}]
    }
    assert json.loads(write_columns(outputs)) == {
        "outputs": {"item": [[1, 2], [3, 4]], "name": ["a", "b"], "score": [0.5, 2.0]}
    }


def test_a_single_output_has_no_name() -> None:
    outputs = protos(probability=np.float32([[3.5, 4.0], [5.5, 0]]))
    assert write_rows(outputs) == b'{"predictions": [[3.5, 4.0], [5.5, 0.0]]}\n'
    assert write_columns(outputs) == b'{"outputs": [[3.5, 4.0], [5.5, 0.0]]}\n'
    assert write_columns(protos(version=7)) == b'{"outputs": 7}\n'


# TF Serving writes "%g", unless that reads as another number: then "%.9g" for float32 and "%.17g" for float64. A number
# without point and exponent gets ".0". So 1/3 in float32, 11184811 / 2^25 = 0.3333333432674..., has nine digits.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.1), "0.1"),
        (np.float32(1 / 3), "0.333333343"),
        (np.float32(9_000_000), "9e+06"),
        (np.float32(123_456_792), "123456792.0"),
        (np.float32(-0.0), "-0.0"),
        (np.float32(3e-5), "3e-05"),
        (np.float32(3.4028235e38), "3.40282347e+38"),
        (np.float32(1e-45), "1.4013e-45"),
        (np.float64(0.1), "0.1"),
        (np.float64(1 / 3), "0.33333333333333331"),
        (np.float64(100_000), "100000.0"),
        (np.float32(math.nan), "NaN"),
        (np.float32(math.inf), "Infinity"),
        (np.float64(-math.inf), "-Infinity"),
        (np.int64(2**53 + 1), "9007199254740993"),
        (np.int64(-(2**63)), "-9223372036854775808"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.int8(-128), "-128"),
        (np.bool_(True), "true"),
        (np.bool_(False), "false"),
        (b'a"\n\\/\x01', '"a\\"\\n\\\\/\\u0001"'),
        ("schön".encode(), '"schön"'),
    ],
)
def test_how_a_value_is_written(value: Any, text: str) -> None:
    assert write_columns(protos(x=value)).decode() == f'{{"outputs": {text}}}\n'


@pytest.mark.parametrize(("dtype", "bits"), [(np.float32, np.uint32), (np.float64, np.uint64)])
def test_every_float_is_read_back_as_it_was(dtype: type, bits: type) -> None:
    drawn = np.random.default_rng(0).integers(0, np.iinfo(bits).max, 20_000, dtype=bits, endpoint=True).view(dtype)
    found = json.loads(write_columns(protos(x=drawn)))["outputs"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(np.array(found, dtype), drawn)


def test_bytes_are_base64_where_the_name_says_so() -> None:
    outputs = protos(image_bytes=[b"image", b"\xff"], title=[b"a", b"b"], count_bytes=np.array([1, 2]))
    assert json.loads(write_columns(outputs)) == {
        "outputs": {"count_bytes": [1, 2], "image_bytes": [{"b64": "aW1hZ2U="}, {"b64": "/w=="}], "title": ["a", "b"]}
    }


def test_other_strings_leave_as_the_bytes_they_are() -> None:
    assert write_columns(protos(title=[b"\xff\x00"])) == b'{"outputs": ["\xff\\u0000"]}\n'


@pytest.mark.parametrize("shape", [[0], [2, 0], [0, 3], [2, 0, 3], [1, 1, 1], [2, 3, 4]])
def test_shapes(shape: list[int]) -> None:
    array = np.arange(math.prod(shape)).reshape(shape)
    assert json.loads(write_columns(protos(x=array))) == {"outputs": array.tolist()}
    if shape[0]:
        assert json.loads(write_rows(protos(x=array, y=array))) == {
            "predictions": [{"x": row, "y": row} for row in array.tolist()]
        }


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        ({"a": [1, 2], "b": [1]}, r"the same first dimension.*Received: a: \[2\], b: \[1\]"),
        ({"a": [1], "b": 1}, r"Received: a: \[1\], b: \[\]"),
        ({"a": 1}, r"Received: a: \[\]"),
        ({"a": np.zeros([0])}, r"of at least 1.*Received: a: \[0\]"),
    ],
)
def test_outputs_that_have_no_rows(outputs: dict[str, Any], match: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        write_rows(protos(**outputs))


@pytest.mark.parametrize("write", [write_rows, write_columns])
def test_a_dtype_without_a_form_in_json(write: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Failed to write JSON value for tensor type: float16"):
        write(protos(x=np.float16([1.5])))
