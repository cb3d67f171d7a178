"""JSON to tensors, with the examples of TF Serving's documentation and every value at the edge of its dtype."""

import json
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.serving.server.rest_inputs import parse_document, read_inputs
from mim_tf.serving.signature import Signature

# The three inputs of the example in TF Serving's api_rest.md.
DOCUMENTED = Signature(
    inputs={
        "sensor": tf.TensorSpec([None, 2, 2], tf.float32),
        "signal": tf.TensorSpec([None, 5], tf.int64),
        "tag": tf.TensorSpec([None], tf.string),
    },
    outputs={},
)


def one(dtype: tf.DType) -> Signature:
    return Signature(inputs={"x": tf.TensorSpec(None, dtype)}, outputs={})


def read(text: str, signature: Signature) -> dict[str, np.ndarray]:
    inputs = read_inputs(parse_document(text.encode()), signature)
    for name, proto in inputs.items():
        assert proto.dtype == signature.inputs[name].dtype.as_datatype_enum
    return {name: tf.make_ndarray(proto) for name, proto in inputs.items()}


@pytest.mark.parametrize(
    "text",
    [
        """{"instances": [
            {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
            {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]}
        ]}""",
        """{"inputs": {
            "tag": ["foo", "bar"],
            "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
            "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]
        }}""",
    ],
)
def test_rows_and_columns_of_the_documentation(text: str) -> None:
    tensors = read(text, DOCUMENTED)
    assert tensors["tag"].tolist() == [b"foo", b"bar"]
    np.testing.assert_array_equal(tensors["signal"], [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]])
    np.testing.assert_array_equal(tensors["sensor"], np.float32([[[1, 2], [3, 4]], [[4, 5], [6, 8]]]))


@pytest.mark.parametrize(
    ("text", "dtype", "expected"),
    [
        ('{"instances": ["foo", "bar"]}', tf.string, [b"foo", b"bar"]),
        ('{"instances": [{"x": "foo"}, {"x": "bar"}]}', tf.string, [b"foo", b"bar"]),
        ('{"instances": [{"b64": "aW1hZ2U="}, "text"]}', tf.string, [b"image", b"text"]),
        ('{"inputs": {"b64": "aW1hZ2U"}}', tf.string, b"image"),  # without its padding
        ('{"inputs": {"x": {"b64": ""}}}', tf.string, b""),
        ('{"inputs": "sch\u00f6n \\u20ac \\ud83d\\ude00"}', tf.string, "schön € 😀".encode()),
        ('{"inputs": "\\u0000"}', tf.string, b"\0"),
        ('{"instances": [[[1, 2]], [[3, 4]]]}', tf.int32, [[[1, 2]], [[3, 4]]]),
        ('{"inputs": 7}', tf.int64, 7),
        ('{"inputs": []}', tf.int64, np.zeros([0])),
        ('{"inputs": [[], []]}', tf.int64, np.zeros([2, 0])),
        ('{"inputs": [9007199254740993, -9223372036854775808, 9223372036854775807]}', tf.int64, None),
        ('{"inputs": [18446744073709551615]}', tf.uint64, [2**64 - 1]),
        ('{"inputs": [-128, 127]}', tf.int8, [-128, 127]),
        ('{"inputs": [true, false]}', tf.bool, [True, False]),
        ('{"inputs": [1, 1.5, -2e3, 0.1]}', tf.float32, np.float32([1, 1.5, -2000, 0.1])),
        ('{"inputs": [0.1, 1e308]}', tf.float64, [0.1, 1e308]),
        ('{"inputs": [NaN, Infinity, -Infinity]}', tf.float32, [math.nan, math.inf, -math.inf]),
        ('{"inputs": [16777215, -16777215]}', tf.float32, [2**24 - 1, 1 - 2**24]),
    ],
)
def test_values(text: str, dtype: tf.DType, expected: Any) -> None:
    if expected is None:  # integers that no float64 holds
        expected = [2**53 + 1, -(2**63), 2**63 - 1]
    found = read(text, one(dtype))["x"]
    assert found.shape == np.shape(expected)
    if dtype == tf.string:
        assert found.tolist() == expected
    else:
        np.testing.assert_array_equal(found, np.array(expected, dtype.as_numpy_dtype))


@pytest.mark.parametrize(
    ("text", "dtype", "match"),
    [
        ('{"inputs": [1.0]}', tf.int64, r"input must be x: int64 \[\.\.\.\]. Received: 1.0."),
        ('{"inputs": [1, true]}', tf.int64, r"x: int64 .* Received: True"),
        ('{"inputs": [1, null]}', tf.float32, r"x: float32 .* Received: None"),
        ('{"inputs": ["7"]}', tf.int64, r"x: int64 .* Received: '7'"),
        ('{"inputs": [7]}', tf.string, r"x: string .* Received: 7"),
        ('{"inputs": [1]}', tf.bool, r"x: bool .* Received: 1"),
        ('{"inputs": {"b64": "YQ=="}}', tf.int64, r"x: int64 .* Received: {'b64': 'YQ=='}"),
        ('{"inputs": [128]}', tf.int8, "an integer that does not fit into int8"),
        ('{"inputs": [-1]}', tf.uint32, "an integer that does not fit into uint32"),
        ('{"inputs": [9223372036854775808]}', tf.int64, "an integer that does not fit into int64"),
        ('{"inputs": [16777217]}', tf.float32, "an integer of more than 24 bits, which float32 would round"),
        ('{"inputs": [9007199254740993]}', tf.float64, "an integer of more than 53 bits, which float64 would round"),
        ('{"inputs": [1e39]}', tf.float32, "a number that does not fit into float32"),
        ('{"inputs": [1e400]}', tf.float64, "a number that does not fit into float64"),
        ('{"inputs": [Infinity, 1e400]}', tf.float32, "a number that does not fit into float32"),
        ('{"inputs": [1' + "0" * 400 + "]}", tf.float64, "float64 would round|does not fit into float64"),
        ('{"inputs": [[1, 2], [3]]}', tf.int64, "1 values where the first list of dimension 1 has 2 values"),
        ('{"inputs": [[1, 2], 3]}', tf.int64, "Received: 3 where the first list of dimension 1 has 2 values"),
        ('{"inputs": [1, [2]]}', tf.int64, r"Received: \[2\]"),
        ('{"inputs": ["\\ud800"]}', tf.string, "half a surrogate pair"),
        ('{"inputs": [{"b64": "@"}]}', tf.string, "base64 that cannot be decoded"),
        ('{"inputs": [{"b64": "\u00e4"}]}', tf.string, "base64 that cannot be decoded"),
        ('{"inputs": ["a", {"b64": "YQ==", "c": 1}]}', tf.string, 'which is no {"b64"'),
        ('{"inputs": {"x": {"b64": 1}}}', tf.string, 'which is no {"b64"'),
    ],
)
def test_values_that_do_not_fit(text: str, dtype: tf.DType, match: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        read(text, one(dtype))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.complex64, tf.variant, tf.resource])
def test_dtypes_that_json_cannot_carry(dtype: tf.DType) -> None:
    # TF Serving: "Conversion of JSON Value: 1.5 to type: half", UNIMPLEMENTED.
    with pytest.raises(tf.errors.UnimplementedError, match=f"Conversion of JSON to x: {dtype.name} .*over gRPC"):
        read('{"inputs": [1.5]}', one(dtype))


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ({}, 'either "instances" or "inputs"'),
        ({"instances": [1], "inputs": [1]}, 'either "instances" or "inputs"'),
        ({"instances": []}, r'"instances" must be a list of at least one value. Received: \[\]'),
        ({"instances": {"tag": "a"}}, '"instances" must be a list'),
        ({"instances": None}, '"instances" must be a list'),
        ({"instances": [1, 2]}, '"instances" must name its inputs, since there are several: sensor: float32'),
        ({"inputs": [1, 2]}, '"inputs" must name its inputs'),
        ({"inputs": {"b64": "YQ=="}}, '"inputs" must name its inputs'),
        ({"inputs": {"tag": [], "signal": []}}, "Sent extra: none. Missing but required: sensor. Expected: sensor"),
        (
            {"inputs": {"tag": [], "signal": [], "sensor": [], "page": 1, "a": 2}},
            "Sent extra: a, page. Missing but required: none",
        ),
        ({"instances": [{"tag": "a"}]}, "instance 0 must have exactly.*Missing but required: sensor, signal"),
        (
            {"instances": [{"tag": "a", "signal": [1], "sensor": [1]}, 5]},
            "instance 1 must be an object, as the first. Received: 5",
        ),
        (
            {"instances": [{"tag": "a", "signal": [1], "sensor": [1]}, {"tag": "a"}]},
            "instance 1 must have exactly the inputs",
        ),
    ],
)
def test_requests_of_another_form(document: dict[str, Any], match: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        read(json.dumps(document), DOCUMENTED)


def test_a_signature_without_inputs_cannot_be_called() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="a signature without inputs"):
        read('{"inputs": {}}', Signature(inputs={}, outputs={}))


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "The document is empty"),
        (b"{", "JSON Parse error: Expecting property name"),
        (b"[1]", r"the request must be a JSON object. Received: \[1\]"),
        (b'{"inputs": Nan}', "JSON Parse error: Expecting value"),
        (b'{"inputs": "\xff"}', "JSON Parse error: 'utf-8' codec"),
        (b'{"inputs": "\x00"}', "JSON Parse error: Invalid control character"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"inputs": ' + b"1" * 5000 + b"}", "JSON Parse error: Exceeds the limit"),
        ('{"inputs": 1}'.encode("utf-16"), "JSON Parse error: 'utf-8' codec"),
    ],
)
def test_bodies_that_are_no_json_object(body: bytes, match: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        parse_document(body)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_document(b'\xef\xbb\xbf{"inputs": 1}') == {"inputs": 1}
