"""Adam whose cost per step depends on the rows that a batch touches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow import keras

_KERAS_3 = hasattr(keras, "ops")
_SWEEPING = ("amsgrad", "weight_decay", "use_ema")  # Keras applies each of them to whole variables


@keras.utils.register_keras_serializable(package="mim_tf")
class RowSparseAdam(keras.optimizers.Adam):
    """Adam that reads and writes only the embedding rows of a batch; Keras' own sweeps table and moments at each step.

    For a gradient that is `tf.IndexedSlices`, as an embedding's is, each distinct row `r` of the batch gets at step `t`

        m_r <- m_r + (1 - beta_1) (g_r - m_r)        v_r <- v_r + (1 - beta_2) (g_r^2 - v_r)
        row_r <- row_r - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m_r / (sqrt(v_r) + epsilon)

    where `g_r` sums the row's slices. All other rows and their moments stay: moments are lazy, they decay only when
    their row is touched, while the bias correction counts all steps. A row that every batch touches gets Adam itself.
    A dense gradient gets Keras' Adam.

    An epsilon of its own slows a table down where gradients are small beside it. In a table of ids those are the rows
    of rare ids: seen once in a batch of N, a row's gradient is about 1 / N. So rare ids are not learnt by heart, which
    an L2 penalty would prevent too, but by a dense gradient: a sweep of the table.

    A shard of a table under `ParameterServerStrategy` is a table of its own. Its workers do not wait for each other: of
    two that learn the same row at once, one may be lost.

    Args:
        learning_rate: a number or a schedule.
        epsilons: epsilons by a part of the names of variables, for those with sparse gradients; others have `epsilon`.
        name: of the optimizer.
        **kwargs: of Keras' Adam, except what would sweep a table: `amsgrad`, `weight_decay`, `use_ema`.

    Raises:
        ValueError: an epsilon is not above 0, or an argument would sweep a table.

    Reference: Kingma and Ba, Adam (arXiv 1412.6980), end of section 2; lazy moments as TensorFlow Addons' LazyAdam has
    them.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        epsilons: Mapping[str, float] | None = None,
        name: str = "RowSparseAdam",
        **kwargs: Any,
    ):
        if epsilons and min(epsilons.values()) <= 0:
            raise ValueError(f"`epsilons` must be above 0. Received: {epsilons}.")
        for argument in _SWEEPING:
            if kwargs.get(argument):
                raise ValueError(
                    f"`{argument}` must be left out, because it sweeps whole tables at each step. "
                    f"Received: {kwargs[argument]}."
                )
        super().__init__(learning_rate, name=name, **kwargs)
        self.epsilons = dict(epsilons or {})
        self.jit_compile = False  # XLA would compile anew for each number of distinct rows

    def build(self, var_list: Any) -> None:
        """Create the moments.

        Raises:
            ValueError: an epsilon is for a variable that is not there.
        """
        super().build(var_list)
        names = [variable.path if _KERAS_3 else variable.name for variable in var_list]
        unknown = [part for part in self.epsilons if not any(part in name for name in names)]
        if unknown:
            raise ValueError(f"`epsilons` must be of variables among {names}. Received: {', '.join(unknown)}.")

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable, *learning_rate: Any) -> None:
        """Update one variable; Keras 3 hands over the learning rate too."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, *learning_rate)
            return
        self._update_rows(_summed_by_row(gradient) if _KERAS_3 else gradient, variable)  # tf_keras has summed already

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "epsilons": self.epsilons}

    def _update_rows(self, gradient: tf.IndexedSlices, variable: tf.Variable) -> None:
        """Adam on rows that are gathered and scattered: an `assign`, or a read of the whole, would copy the table."""
        rows, values = gradient.indices, tf.cast(gradient.values, variable.dtype)
        momentum, velocity = self._moments(variable)
        m, v = tf.gather(momentum, rows), tf.gather(velocity, rows)
        m += (values - m) * (1 - self.beta_1)
        v += (tf.square(values) - v) * (1 - self.beta_2)
        change = self._corrected_rate(variable.dtype) * m / (tf.sqrt(v) + self._epsilon_of(variable))
        # Scattered as values, which is a copy; TensorFlow's scattered sums are many times slower.
        momentum.scatter_update(tf.IndexedSlices(m, rows))
        velocity.scatter_update(tf.IndexedSlices(v, rows))
        variable.scatter_update(tf.IndexedSlices(tf.gather(variable, rows) - change, rows))

    def _epsilon_of(self, variable: tf.Variable) -> float:
        name = self._trainable_variables[self._get_variable_index(variable)].path if _KERAS_3 else variable.name
        return next((epsilon for part, epsilon in self.epsilons.items() if part in name), self.epsilon)

    def _corrected_rate(self, dtype: tf.DType) -> tf.Tensor:
        """The learning rate with both moments' bias correction."""
        step = tf.cast(self.iterations + 1, dtype)
        first, second = (1 - tf.pow(tf.cast(beta, dtype), step) for beta in (self.beta_1, self.beta_2))
        return tf.cast(self.learning_rate, dtype) * tf.sqrt(second) / first

    def _moments(self, variable: tf.Variable) -> tuple[tf.Variable, tf.Variable]:
        """A variable's `m` and `v`, of its shape."""
        if _KERAS_3:
            index = self._get_variable_index(variable)
            return self._momentums[index].value, self._velocities[index].value
        index = self._index_dict[self._var_key(variable)]
        return self._momentums[index], self._velocities[index]


def _summed_by_row(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with each row once."""
    rows, positions = tf.unique(gradient.indices)
    return tf.IndexedSlices(tf.math.unsorted_segment_sum(gradient.values, positions, tf.size(rows)), rows)
