"""Tensors from protos and back; the oracles are TensorFlow's own parser and `make_ndarray`."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2

from mim_tf.serving.tensor_protos import to_proto, whole_tensor

BYTES = np.array([[b"red", b""], ["sch\u00f6n".encode(), b"\xff\x00"]], object)  # no UTF-8, and a zero at the end
NUMBERS = [np.float16, np.float32, np.float64, np.bool_, np.int8, np.int16, np.int32, np.int64]
NUMBERS += [np.uint8, np.uint16, np.uint32, np.uint64]
ARRAYS = [
    *(np.array([[0, 1, 2], [3, 100, 0]]).astype(dtype) for dtype in NUMBERS),
    np.array([2**53 + 1, -(2**63), 2**63 - 1]),
    np.float32([np.nan, np.inf, -0.0]),
    np.zeros([1, 2, 1, 3], np.int32),
    BYTES,
    BYTES.ravel(),
    BYTES[:, :, None],
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.shape}")
def test_what_brings_its_values_is_read_as_tensorflow_reads_it(array: np.ndarray) -> None:
    proto = tf.make_tensor_proto(array)
    if array.dtype != object:  # TensorFlow's Python writes truth values one by one, its core does not
        proto = tensor_pb2.TensorProto.FromString(tf.io.serialize_tensor(array).numpy())
    tensor = whole_tensor(proto, tf.as_dtype(array.dtype))
    expected = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(array.dtype))
    assert tensor is not None
    assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(tensor.numpy(), expected.numpy())


@pytest.mark.parametrize(
    "text",
    [
        "dtype: DT_INT32 tensor_shape { } int_val: 7",
        "dtype: DT_INT32 tensor_shape { dim { size: 2 } } int_val: [7, 8]",
        "dtype: DT_INT32 tensor_shape { dim { size: 2 } } tensor_content: '\\001\\000\\000\\000'",
        "dtype: DT_INT32 tensor_shape { dim { size: -1 } dim { size: -1 } } tensor_content: '\\001\\000\\000\\000'",
        "dtype: DT_INT32 tensor_shape { dim { size: 1 } unknown_rank: true } tensor_content: '\\001\\000\\000\\000'",
        "dtype: DT_INT32 tensor_shape { dim { size: 0 } dim { size: 9223372036854775807 } }",
        "dtype: DT_INT32 tensor_shape { " + "dim { size: 1 } " * 100 + "} tensor_content: '\\001\\000\\000\\000'",
        "dtype: DT_STRING tensor_shape { dim { size: 3 } } string_val: 'a'",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: ['a', 'b']",
        "dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: 'a' tensor_content: '\\001b'",
        "dtype: DT_BFLOAT16 tensor_shape { dim { size: 1 } } tensor_content: '\\001\\000'",
    ],
)
def test_whatever_else_is_left_to_tensorflow(text: str) -> None:
    proto = text_format.Parse(text, tensor_pb2.TensorProto())
    assert whole_tensor(proto, tf.as_dtype(proto.dtype)) is None


@pytest.mark.parametrize(
    "array",
    [*ARRAYS, np.zeros([0, 3], np.int64), np.zeros([0], object), np.float32(0.5), np.array(b"one\x00", object)],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_what_is_written_is_what_was_there(array: np.ndarray) -> None:
    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    proto = to_proto(np.asarray(array))
    read = tf.make_ndarray(proto)
    assert (tf.as_dtype(proto.dtype), read.shape) == (dtype, array.shape)
    np.testing.assert_array_equal(read, array)
    parsed = tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy()
    np.testing.assert_array_equal(np.asarray(parsed, array.dtype), array)


def test_the_bytes_of_another_machine_are_turned_round() -> None:
    np.testing.assert_array_equal(tf.make_ndarray(to_proto(np.array([1, 2], ">i8"))), [1, 2])


@pytest.mark.parametrize("values", [np.array(["red", 7], object), np.array(["2025-04-07"], "datetime64[D]")])
def test_what_is_neither_number_nor_bytes_is_refused(values: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r".+"):
        to_proto(values)
