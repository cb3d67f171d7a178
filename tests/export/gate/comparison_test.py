"""When an output is the training model's, and where it is not."""

import numpy as np
import pytest

from mim_tf.export.gate.comparison import compare


def floats(*values: float, dtype: type = np.float32) -> np.ndarray:
    return np.array(values, dtype)


def test_floats_may_differ_by_the_tolerance() -> None:
    assert compare(floats(0.5, 1), floats(0.5, 1.25), 0.25) == (0.25, "")
    difference, problem = compare(floats(0.5, 1, 3), floats(0.75, 1.5, 3), 0.25)
    assert difference == 0.5
    assert problem == "differs by 0.5, more than 0.25, at [1]: 1.0 expected. Received: 1.5"


def test_float16_is_compared_in_higher_precision() -> None:
    """In float16 60000 - -60000 were infinite."""
    assert compare(floats(60000, dtype=np.float16), floats(-60000, dtype=np.float16), 1e5).difference == 120000


def test_complex_numbers_differ_by_their_distance() -> None:
    assert compare(np.array([1 + 1j]), np.array([4 + 5j]), 9) == (5.0, "")


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_be_at_the_same_places(special: float) -> None:
    assert compare(floats(1, special), floats(1, special), 0.1) == (0.0, "")
    for pair in ((floats(1, special), floats(1, 2)), (floats(1, 2), floats(1, special))):
        difference, problem = compare(*pair, 1e9)
        assert difference == np.inf
        assert problem.startswith("differs by inf, more than 1e+09, at [1]: ")


def test_infinities_of_other_signs_differ() -> None:
    assert compare(floats(np.inf), floats(-np.inf), 1e9).problem.startswith("differs by inf")


@pytest.mark.parametrize(
    ("expected", "received"),
    [
        (np.array([[1, 2**60]]), np.array([[1, 2**60 + 1]])),  # one number as float64
        (np.array([[True, True]]), np.array([[True, False]])),
        (np.array([["a", "b"]]), np.array([[b"a", b"b\0"]], object)),
    ],
)
def test_all_else_must_be_equal(expected: np.ndarray, received: np.ndarray) -> None:
    difference, problem = compare(expected, received, 9)
    assert difference == np.inf
    assert problem.startswith("1 of 2 differ, the first at [0, 1]: ")


def test_equal_strings_are_equal() -> None:
    assert compare(np.array(["ö"]), np.array(["ö".encode()], object), 0) == (0.0, "")


def test_shape_and_dtype_must_be_the_same() -> None:
    assert compare(floats(1), floats(1, dtype=np.float64), 1).problem == "dtype float32 expected. Received: float64"
    assert compare(np.array(["1"]), np.array([1]), 1).problem == "dtype string expected. Received: int64"
    assert compare(floats(1), floats(1)[None], 1).problem == "shape [1] expected. Received: [1, 1]"
    assert compare(floats(), floats()[None], 1).problem == "shape [0] expected. Received: [1, 0]"


@pytest.mark.parametrize(
    "values", [floats(), np.zeros([0, 2], int), np.zeros([0], object), np.float32(3), np.array(b"")]
)
def test_empty_arrays_and_single_values(values: np.ndarray) -> None:
    received = np.array(values.item(), object) if values.dtype.kind == "S" else np.asarray(values)
    assert compare(values, received, 0) == (0.0, "")


def test_single_values_differ_somewhere_too() -> None:
    assert compare(np.array(1), np.array(2), 0).problem == "1 of 1 differ, the first at []: 1 expected. Received: 2"
