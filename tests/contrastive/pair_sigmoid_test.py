"""The sigmoid loss and its gradients against NumPy, one pair at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import pair_sigmoid

POSITIVES = np.array([4, 0, 2])
Loss = Callable[..., np.ndarray]


def numpy_pair_sigmoid(
    queries: np.ndarray, candidates: np.ndarray, temperature: float, bias: float, excluded: np.ndarray
) -> np.ndarray:
    """The equation in float64: `-sum_j log sigmoid(y (sim / T + b))`."""
    losses = np.zeros(len(queries))
    for i, query in enumerate(queries):
        for j, candidate in enumerate(candidates):
            cosine = query @ candidate / np.linalg.norm(query) / np.linalg.norm(candidate)
            y = 1 if j == POSITIVES[i] else -1
            if y == 1 or not excluded[i, j]:
                losses[i] -= np.log(1 / (1 + np.exp(-y * (cosine / temperature + bias))))
    return losses


def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    excluded = random.random((3, 5)) < 0.4
    excluded[0, 4] = True  # a positive, which is never excluded
    return random.normal(size=(3, 4)), random.normal(size=(5, 4)), excluded


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (0.1, -3.0), (0.07, -10.0)])
def test_the_loss_equals_the_equation(temperature: float, bias: float) -> None:
    queries, candidates, excluded = inputs()
    tensors = tf.constant(queries), tf.constant(candidates), tf.constant(POSITIVES)
    for mask in (excluded, None):
        losses = pair_sigmoid(*tensors, temperature=temperature, bias=bias, excluded=mask)
        expected = numpy_pair_sigmoid(
            queries, candidates, temperature, bias, np.zeros((3, 5), bool) if mask is None else mask
        )
        assert losses.dtype == tf.float32
        np.testing.assert_allclose(losses, expected, rtol=2e-5)


def test_gradients_equal_finite_differences() -> None:
    queries, candidates, excluded = inputs()
    values = [queries, candidates, np.array(0.3), np.array(-1.0)]
    variables = [tf.Variable(value, dtype=tf.float32) for value in values]
    with tf.GradientTape() as tape:
        rows, columns, temperature, bias = (tf.identity(variable) for variable in variables)
        loss = tf.reduce_sum(
            pair_sigmoid(rows, columns, tf.constant(POSITIVES), temperature=temperature, bias=bias, excluded=excluded)
        )
    gradients = tape.gradient(loss, variables)
    for index, gradient in enumerate(gradients):
        expected = np.zeros_like(values[index])
        for place in np.ndindex(values[index].shape):
            sums = []
            for step in (1e-6, -1e-6):
                moved = [value.copy() for value in values]
                moved[index][place] += step
                sums.append(numpy_pair_sigmoid(*moved, excluded).sum())
            expected[place] = (sums[0] - sums[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


def test_a_start_from_no_costs_as_much_as_the_positive_is_doubted() -> None:
    # All cosines 0: the positive costs log(1 + e^10), 10.00005; each other one log(1 + e^-10), 0.0000454.
    losses = pair_sigmoid(tf.eye(2, 4), tf.eye(6, 4)[2:4], tf.constant([0, 1]), temperature=0.07, bias=-10.0)
    np.testing.assert_allclose(losses, [10.0000454 + 0.0000454] * 2, rtol=1e-6)
