"""AdamW against NumPy written from the papers; the schedule at points computed by hand; the weights' average."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.settings import TrainingSettings
from mim_tf.training.optimizer import AdamW, adamw
from mim_tf.training.weight_average import WeightAverage


def numpy_adamw(
    start: np.ndarray, gradients: list[np.ndarray], rates: list[float], decay: float, scale: float
) -> np.ndarray:
    """Algorithm 2 of the paper: `w <- w - rate (m^ / (sqrt(v^) + e) + decay w)`, in float64."""
    w, m, v = start.astype(np.float64), 0.0, 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        direction = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
        w = w - scale * rate * (direction + decay * w)
    return w


def variable(value: Any, name: str | None = None) -> keras.Variable:
    return keras.Variable(np.asarray(value), dtype="float32", name=name)


def weights() -> list[keras.Variable]:
    """A matrix, the bias that attention keeps by head, the scale of a norm, a class token and a temperature."""
    random = np.random.default_rng(0)
    shapes = {"kernel": (4, 3), "bias": (2, 3), "gamma": (3,), "token": (1, 1, 5), "scale": ()}
    return [variable(random.normal(size=shape), name) for name, shape in shapes.items()]


@pytest.mark.parametrize("rates", [{}, {"kernel": 0.5, "bias": 0.25}])
def test_several_steps_equal_the_paper(rates: Mapping[str, float]) -> None:
    variables = weights()
    start = [weight.numpy() for weight in variables]
    optimizer = AdamW(0.01, 0.3, {weight.path: rates[weight.name] for weight in variables if weight.name in rates})
    optimizer.build(variables)
    random = np.random.default_rng(1)
    gradients = [[random.normal(size=weight.shape) for weight in variables] for _ in range(5)]
    for step in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32) for gradient in step], variables)
    for index, weight in enumerate(variables):
        own = [step[index] for step in gradients]
        decay = 0.3 if weight.name == "kernel" else 0.0
        expected = numpy_adamw(start[index], own, [0.01] * 5, decay, rates.get(weight.name, 1.0))
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5, atol=1e-5, err_msg=weight.name)


def test_rows_that_come_twice_count_as_their_sum() -> None:
    sparse, dense = (variable(np.ones((4, 2)), "embeddings") for _ in range(2))
    rows, indices = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), [2, 0, 2]
    whole = np.zeros((4, 2))
    np.add.at(whole, indices, rows)
    gradients = tf.IndexedSlices(tf.constant(rows, tf.float32), tf.constant(indices), tf.constant([4, 2]))
    for table, gradient in ((sparse, gradients), (dense, tf.constant(whole, tf.float32))):
        optimizer = AdamW(0.1, 0.2, {})
        optimizer.build([table])
        for _ in range(2):
            optimizer.apply([gradient], [table])
    np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=1e-6)


def rate_at(step: int, steps: int, **options: float) -> float:
    optimizer = adamw([variable(0.0)], steps, TrainingSettings(**options), {})
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)


def test_the_rate_climbs_to_its_peak_and_falls_along_a_cosine() -> None:
    expected = {
        0: 0.0,
        10: 0.1,  # half of the 20 steps of warm-up
        20: 0.2,
        40: 0.2 * (1 + np.cos(np.pi / 4)) / 2,  # 20 of the 80 steps that are left
        60: 0.1,
        100: 0.0,
    }
    for step, rate in expected.items():
        assert rate_at(step, 100, learning_rate=0.2, warmup=0.2) == pytest.approx(rate, abs=1e-7)


def test_without_warm_up_the_rate_starts_at_its_peak() -> None:
    for step, rate in {0: 0.2, 25: 0.1, 50: 0.0}.items():
        assert rate_at(step, 50, learning_rate=0.2, warmup=0.0) == pytest.approx(rate, abs=1e-7)
    assert rate_at(0, 1, learning_rate=0.2, warmup=0.9) >= 0  # a single step


def test_the_average_follows_at_the_rate_of_its_age() -> None:
    variables = [variable([1.0, -2.0]), variable(3.0)]
    average = WeightAverage(variables, 0.5)
    random, expected = np.random.default_rng(0), [v.numpy().astype(np.float64) for v in variables]
    for step in range(12):
        for weight in variables:
            weight.assign(random.normal(size=weight.shape))
        average.update(tf.constant(step, tf.int64))
        decay = min(0.5, (1 + step) / (10 + step))  # below 0.5 up to step 8
        expected = [decay * a + (1 - decay) * v.numpy() for a, v in zip(expected, variables, strict=True)]
        for own, other in zip(average.averages, expected, strict=True):
            np.testing.assert_allclose(own.numpy(), other, rtol=1e-5, atol=1e-6)


def test_what_is_put_in_place_is_taken_out_bit_for_bit_also_after_an_error() -> None:
    weights = variable(np.random.default_rng(0).normal(size=50))
    average = WeightAverage([weights], 0.9)
    weights.assign(weights * 1.1)
    average.update(tf.constant(1, tf.int64))
    before, mean = weights.numpy(), average.averages[0].numpy()
    assert not np.array_equal(before, mean)

    def fail() -> None:
        with average.in_place():
            np.testing.assert_array_equal(weights.numpy(), mean)
            raise KeyError("evaluation")

    with pytest.raises(KeyError, match="evaluation"):
        fail()
    np.testing.assert_array_equal(weights.numpy(), before)
    np.testing.assert_array_equal(average.averages[0].numpy(), mean)
