"""The files of calls and results: every value comes back as it went, whatever bytes a string ends in."""

from pathlib import Path

import numpy as np
import pytest
from ml_dtypes import bfloat16

from mim_tf.export.gate.call_file import (
    Call,
    Result,
    as_tensor_values,
    read_calls,
    read_results,
    write_calls,
    write_results,
)

DTYPES = [*"bBhHiIqQefdFD?", bfloat16]  # NumPy's letters


def values_of(dtype: str | type, shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


STRINGS = np.array([[b"\xff\xd8\0\0", b""], [b"\0", "ö".encode()]], object)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 3)])
def test_calls_come_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    inputs = {np.dtype(dtype).name: values_of(dtype, shape) for dtype in DTYPES}
    inputs["text"] = np.full(shape, b"a\0", object)
    feeds = {name: f"predict_{name}:0" for name in inputs}
    calls = [
        Call("predict", inputs, feeds, {"probability": "call:1"}),
        Call("version", {}, {}, {"version": "call_1:0"}),
    ]
    write_calls(tmp_path / "calls", calls)
    first, second = read_calls(tmp_path / "calls")
    assert (first.signature, first.feeds, first.fetches) == ("predict", feeds, {"probability": "call:1"})
    assert second == calls[1]
    for name, values in inputs.items():
        assert first.inputs[name].dtype == values.dtype
        np.testing.assert_array_equal(first.inputs[name], values)


def test_results_come_back(tmp_path: Path) -> None:
    write_results(tmp_path / "results", [Result({"key": STRINGS}), Result({}, "NOT_FOUND: ö")])
    first, second = read_results(tmp_path / "results")
    np.testing.assert_array_equal(first.outputs["key"], STRINGS)
    assert first.error == ""
    assert second == Result({}, "NOT_FOUND: ö")


def test_the_bytes_are_those_that_the_format_says(tmp_path: Path) -> None:
    write_results(tmp_path / "results", [Result({"n": np.array([258], np.int32)}, "e")])
    one = bytes([1, 0, 0, 0])
    length = bytes([1, 0, 0, 0, 0, 0, 0, 0])
    tensor = bytes([3, 0, 0, 0]) + one + length + bytes([2, 1, 0, 0])  # int32, rank 1, size 1, 258 = 2 + 1 * 256
    expected = b"MIMRESLT" + one + length + b"e" + one + length + b"n" + tensor
    assert (tmp_path / "results").read_bytes() == expected


def test_strings_of_any_kind_become_bytes() -> None:
    for strings in (np.array(["ö", "a"]), np.array(["ö", b"a"], object), np.array(["ö".encode(), b"a"])):
        np.testing.assert_array_equal(as_tensor_values(strings), np.array([b"\xc3\xb6", b"a"], object))
    assert as_tensor_values(np.array("ö", object)).item() == b"\xc3\xb6"


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_results(path, [Result({"key": STRINGS})])
    with pytest.raises(ValueError, match=r"must begin with MIMCALLS\. Received: b'MIMRESLT'"):
        read_calls(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"ends too soon: 2 bytes must follow\. Received: 1\."):
        read_results(path)
    with pytest.raises(TypeError, match=r"`values` must have a dtype of TensorFlow's\. Received: datetime64\[s\]\."):
        write_results(path, [Result({"t": np.zeros(1, "datetime64[s]")})])
