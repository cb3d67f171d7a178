"""Alignment and uniformity against NumPy, pair by pair, and at their extremes."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import alignment, uniformity


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def numpy_uniformity(x: np.ndarray) -> float:
    """One pair at a time, in float64."""
    rows = unit(x)
    pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
    return float(np.log(np.mean([np.exp(-2 * np.sum((rows[i] - rows[j]) ** 2)) for i, j in pairs])))


@pytest.mark.parametrize("rows", [2, 17])
def test_against_numpy(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x, y = rng.normal(size=(rows, 5)), rng.normal(size=(rows, 5))
    expected = np.mean([np.sum((a - b) ** 2) for a, b in zip(unit(x), unit(y), strict=True)])
    np.testing.assert_allclose(alignment(tf.constant(x), tf.constant(y)), expected, rtol=1e-6)
    np.testing.assert_allclose(uniformity(tf.constant(x)), numpy_uniformity(x), rtol=1e-6)


def test_alignment_of_identical_opposite_and_orthogonal_rows() -> None:
    x = tf.random.normal([6, 8])
    assert alignment(x, x) == 0
    assert alignment(x, 3 * x).numpy() == pytest.approx(0, abs=1e-6)  # directions alone count
    assert alignment(x, -x).numpy() == pytest.approx(4)
    assert alignment(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 1.0]])).numpy() == pytest.approx(2)


def test_uniformity_of_one_point_of_opposite_points_and_of_many_directions() -> None:
    assert uniformity(tf.ones([5, 7])).numpy() == pytest.approx(0, abs=1e-6)
    assert uniformity(tf.constant([[1.0, 0.0], [-1.0, 0.0]])).numpy() == pytest.approx(-8)  # ||x - y||^2 is 4
    assert uniformity(tf.eye(64)).numpy() == pytest.approx(-4)  # any two are orthogonal: 2


def test_a_single_row_is_zero_with_a_gradient_of_zero() -> None:
    row = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        value = tf.function(uniformity, input_signature=[tf.TensorSpec([None, 2])])(row)
    assert value == 0
    np.testing.assert_array_equal(tape.gradient(value, row), [[0, 0]])


def test_the_gradient_of_uniformity_equals_finite_differences() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    variable = tf.Variable(x, dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = uniformity(variable)
    steps = 1e-5 * np.eye(12).reshape(12, 4, 3)
    differences = [(numpy_uniformity(x + step) - numpy_uniformity(x - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(tape.gradient(value, variable), np.reshape(differences, (4, 3)), atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_rows_are_measured_in_float32(dtype: tf.DType) -> None:
    x = tf.cast(tf.random.normal([50, 8]), dtype)
    assert uniformity(x).dtype == tf.float32
    assert alignment(x, x[::-1]).dtype == tf.float32
    np.testing.assert_allclose(uniformity(x), numpy_uniformity(tf.cast(x, tf.float64).numpy()), rtol=1e-5)
