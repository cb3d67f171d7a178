"""DIN: attention between the target and each behaviour, by a small network."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import as_given, blank_padding, checked, shown_mask
from mim_tf.interest.dice import Dice
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.packed_steps import gather_distinct
from mim_tf.interest.precision import at_least_float32
from mim_tf.interest.sizes import check_sizes


@keras.utils.register_keras_serializable(package="mim_tf")
class DIN(InterestLayer):
    """Deep Interest Network: weighs each behaviour by what a small network makes of it beside the target.

    ```
    a_ID(t, i) = MLP([h_t, h_i, h_t - h_i, h_t * h_i])        one number, linear at the end
    h_ID_B     = sum_i a_ID(t, i) h_i                         no softmax: the weights keep the strength of the interest
    ```

    Args:
        hidden_units: widths of the network's hidden layers.
        activation: "dice", or the name of a Keras activation ("sigmoid", "relu", ...), after each hidden layer.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, `[batch, dim]`, or `[batch, candidates, dim]`.
        history: floating point, `[batch, length, dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN,
            and counts neither in the sum nor in the statistics of Dice. A history without a real behaviour gives zeros.
        shown: bool, `[batch]` or `[batch, candidates]` as the target is, False at padding among candidates; None if all
            are real. Padding gives zeros and does not count in the statistics of Dice.

    Returns:
        The ID interest, `[batch, dim]`, or `[batch, candidates, dim]`, in the layer's compute dtype.

    Raises:
        TypeError: if `target` or `history` is not floating point, or `mask` or `shown` not boolean.
        ValueError: if an argument is out of range, or the shapes do not fit each other.

    Example:
        >>> interest = DIN(hidden_units=(8,))(tf.ones([2, 4]), tf.ones([2, 10, 4]))
        >>> interest.shape
        TensorShape([2, 4])

    Reference:
        Zhou et al., Deep Interest Network for Click-Through Rate Prediction, equation 3, arXiv:1706.06978; the four
        inputs are those of its authors' code. MIM, equation 1.
    """

    def __init__(self, hidden_units: Sequence[int] = (80, 40), activation: str = "dice", **kwargs: Any) -> None:
        if not isinstance(hidden_units, Sequence):
            raise ValueError(f"`hidden_units` must be a sequence of integers. Received: {hidden_units!r}.")
        hidden_units = tuple(hidden_units)
        for units in hidden_units:
            check_sizes(hidden_units=units)
        if not isinstance(activation, str):
            raise ValueError(f'`activation` must be "dice" or a Keras activation\'s name. Received: {activation}.')
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        self.activation = activation
        policy = self.dtype_policy
        self.hidden = [
            keras.layers.Dense(units, None if activation == "dice" else activation, dtype=policy, name=f"hidden_{i}")
            for i, units in enumerate(self.hidden_units)
        ]
        self.dices = [Dice(dtype=policy, name=f"dice_{i}") for i, _ in enumerate(self.hidden) if activation == "dice"]
        self.score = keras.layers.Dense(1, dtype=policy, name="score")

    def build(self, target_shape: Any) -> None:
        """Make the activation unit's weights."""
        dim = target_shape[-1]
        if dim is None:
            raise ValueError(f"`target` must have a known last dimension. Received: shape {target_shape}.")
        widths = (4 * dim, *self.hidden_units)
        for layer, width in zip([*self.hidden, self.score], widths, strict=True):
            layer.build((None, width))
        for dice, units in zip(self.dices, self.hidden_units, strict=False):
            dice.build((None, units))
        super().build(target_shape)

    def call(
        self,
        target: tf.Tensor,
        history: tf.Tensor,
        mask: tf.Tensor | None = None,
        shown: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the behaviours, each weighed by its activation."""
        targets, history, real = checked(target, history, mask, self.compute_dtype)
        shown = None if shown is None else shown_mask(shown, targets)
        # The real behaviours of the whole batch, one after the other: padding takes no time, and reaches nothing.
        users, positions = tf.unstack(tf.where(real), axis=1)
        attention = self._attention(as_given(targets, target), users, tf.boolean_mask(history, real), shown)
        # Back to their places, [batch, length, candidates].
        batch, length = tf.unstack(tf.shape(real, tf.int64))
        attention = tf.math.unsorted_segment_sum(attention, users * length + positions, batch * length)
        attention = tf.reshape(attention, [batch, length, tf.shape(targets, tf.int64)[1]])
        # Added up in full precision: in float16 a sum of ones stops at 2,048.
        wide = at_least_float32(self.compute_dtype)
        behaviours = tf.cast(blank_padding(history, real), wide)
        interests = tf.matmul(tf.cast(attention, wide), behaviours, transpose_a=True)
        return as_given(tf.cast(interests, self.compute_dtype), target)

    def _attention(
        self, target: tf.Tensor, users: tf.Tensor, behaviours: tf.Tensor, shown: tf.Tensor | None
    ) -> tf.Tensor:
        """Return a_ID(t, i) of `behaviours`, `[real, dim]`, and their `users`, `[real]`; 0 where t is not `shown`.

        Like the target, `[batch, dim]` or `[batch, candidates, dim]`, it is `[real]` or `[real, candidates]`.
        """
        first, *others = [*self.hidden, self.score]
        compared = self._compare(first, target, users, behaviours)
        # Whether candidates or not, one pair after the other.
        pairs = tf.reshape(compared, [-1, compared.shape[-1]])
        if shown is None:
            scores = self._scores(others, pairs)
        else:
            rows = tf.cast(tf.where(tf.reshape(tf.gather(shown, users), [-1]))[:, 0], tf.int32)
            of_shown = self._scores(others, gather_distinct(pairs, rows))
            scores = tf.scatter_nd(rows[:, tf.newaxis], of_shown, [tf.shape(pairs)[0], 1])
        return tf.reshape(scores, tf.shape(compared)[:-1])

    def _scores(self, others: Sequence[keras.layers.Layer], pairs: tf.Tensor) -> tf.Tensor:
        """Return what the layers after the first make of `[pairs, units]`, `[pairs, 1]`."""
        for i, dense in enumerate(others):
            pairs = dense(self.dices[i](pairs) if self.dices else pairs)
        return pairs

    def _compare(
        self, dense: keras.layers.Dense, target: tf.Tensor, users: tf.Tensor, behaviours: tf.Tensor
    ) -> tf.Tensor:
        """Return what `dense` makes of `[h_t, h_i, h_t - h_i, h_t * h_i]`, `[real, units]`, or by candidate.

        Regrouped, which halves the work: of `W_1 t + W_2 h + W_3 (t - h) + W_4 (t * h) + c` the part of the target,
        `(W_1 + W_3) t + c`, is the same for all of its behaviours, that of the behaviour, `(W_2 - W_3) h`, for all
        candidates, and `W_4 (t * h)` is left to each pair.
        """
        kernel, bias = tf.cast(dense.kernel, self.compute_dtype), tf.cast(dense.bias, self.compute_dtype)
        for_target, for_behaviour, for_difference, for_product = tf.split(kernel, 4)
        if target.shape.rank == 3:
            behaviours = behaviours[:, tf.newaxis]
        of_target = tf.nn.bias_add(tf.tensordot(target, for_target + for_difference, axes=1), bias)
        of_behaviour = tf.tensordot(behaviours, for_behaviour - for_difference, axes=1)
        of_product = tf.tensordot(tf.gather(target, users) * behaviours, for_product, axes=1)
        return dense.activation(tf.gather(of_target, users) + of_behaviour + of_product)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "hidden_units": list(self.hidden_units), "activation": self.activation}
