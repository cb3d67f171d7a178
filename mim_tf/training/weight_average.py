"""The moving average of a model's weights, which is often better than the weights it averages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage(tf.Module):
    """`a <- d a + (1 - d) w` after each step, `d = min(decay, (1 + step) / (10 + step))`.

    The smaller decay of the first steps lets the average leave the random start behind.

    Args:
        variables: what is averaged, the variables that learn.
        decay: of the average.

    Reference: Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging (1992); the ramp is TensorFlow's
    `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, variables: list[keras.Variable], decay: float):
        super().__init__()
        self._decay = decay
        self._variables = [variable.value for variable in variables]
        self.averages = [tf.Variable(variable, trainable=False) for variable in self._variables]

    def update(self, step: tf.Tensor) -> None:
        """Follow the variables, on each replica.

        Args:
            step: int64, the steps before this one.
        """
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.averages, self._variables, strict=True):
            average.assign_add((1.0 - decay) * (variable - average))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averages for weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Exchange the weights and their averages."""
        for average, variable in zip(self.averages, self._variables, strict=True):
            weights = tf.identity(variable)
            variable.assign(average)
            average.assign(weights)
