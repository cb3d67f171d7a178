"""A SavedModel's output beside the training model's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mim_tf.export.gate.call_file import as_tensor_values


class Comparison(NamedTuple):
    """How an output compares.

    Args:
        difference: the greatest absolute one of a float output; 0 of an output that must be equal and is; infinite
            where there is none to be had, as between different shapes.
        problem: what is wrong, with where; "" if nothing is.
    """

    difference: float
    problem: str = ""


def compare(expected: np.ndarray, received: np.ndarray, tolerance: float) -> Comparison:
    """Compare an output.

    Args:
        expected: values of the training model.
        received: values of the SavedModel; dtype and shape must be the same.
        tolerance: greatest absolute difference of floats and complex numbers. NaN and infinities must be at the same
            places; integers, booleans and strings must be equal.
    """
    expected = as_tensor_values(expected)
    if expected.dtype != received.dtype:
        return Comparison(np.inf, f"dtype {_name(expected)} expected. Received: {_name(received)}")
    if expected.shape != received.shape:
        return Comparison(np.inf, f"shape {list(expected.shape)} expected. Received: {list(received.shape)}")
    if expected.dtype.kind in "OSUbiu":
        return _equal(expected, received)
    return _close(expected, received, tolerance)


def _equal(expected: np.ndarray, received: np.ndarray) -> Comparison:
    unequal = np.argwhere(np.asarray(expected != received))
    if not len(unequal):
        return Comparison(0.0)
    first = tuple(unequal[0])
    problem = f"{len(unequal)} of {expected.size} differ, the first {_at(first, expected, received)}"
    return Comparison(np.inf, problem)


def _close(expected: np.ndarray, received: np.ndarray, tolerance: float) -> Comparison:
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    differences = _differences(expected.astype(wide), received.astype(wide))
    if not differences.size:
        return Comparison(0.0)
    worst = np.unravel_index(np.argmax(differences), differences.shape)
    difference = float(differences[worst])
    if difference <= tolerance:
        return Comparison(difference)
    problem = f"differs by {difference:.3g}, more than {tolerance:g}, {_at(worst, expected, received)}"
    return Comparison(difference, problem)


def _differences(expected: np.ndarray, received: np.ndarray) -> np.ndarray:
    """Zero between equal values that are not finite, infinite where only one is or they are not equal."""
    finite = np.isfinite(expected) & np.isfinite(received)
    same = (expected == received) | (np.isnan(expected) & np.isnan(received))
    with np.errstate(invalid="ignore"):  # of values that are not taken
        return np.where(finite, np.abs(expected - received), np.where(same, 0.0, np.inf))


def _at(index: tuple[np.intp, ...], expected: np.ndarray, received: np.ndarray) -> str:
    return f"at {[int(part) for part in index]}: {expected[index]!s} expected. Received: {received[index]!s}"


def _name(values: np.ndarray) -> str:
    return "string" if values.dtype == object else values.dtype.name
