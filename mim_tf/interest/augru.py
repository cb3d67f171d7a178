"""AUGRU, a GRU whose attention weights say how far each step may move the state."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import blank_padding, bool_mask, float_tensor
from mim_tf.interest.precision import at_least_float32


@keras.utils.register_keras_serializable(package="mim_tf")
class AUGRU(keras.layers.Layer):
    """GRU with attentional update gate. Without attention, where every weight is 1, it is the plain GRU.

    ```
    u_t  = sigmoid(W_u i_t + U_u h_(t-1) + b_u)                 update gate: the new state's share
    r_t  = sigmoid(W_r i_t + U_r h_(t-1) + b_r)                 reset gate
    h~_t = tanh(W_h i_t + r_t * (U_h h_(t-1)) + b_h)
    h_t  = (1 - a_t u_t) * h_(t-1) + a_t u_t * h~_t             h_0 = 0
    ```

    Keras' GRU with `reset_after=True` calls the old state's share the update gate: its `z` is `1 - u`.

    Args:
        units: dimension of the state.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        inputs: floating point, `[batch, length, dim]`, oldest first.
        attention: floating point, the weights a_t in [0, 1], `[batch, length]`; None for all 1.
        mask: bool, `[batch, length]`, True at real steps; None if all are. A step that is not passes the state on as it
            is; inputs and attention may hold anything there, even NaN.

    Returns:
        The state after every step, `[batch, length, units]`, in the layer's compute dtype. States are kept in at least
        float32.

    Raises:
        TypeError: if `inputs` or `attention` is not floating point, or `mask` not boolean.
        ValueError: if `units` is not above 0, or the shapes do not fit each other.

    Example:
        >>> states = AUGRU(8)(tf.ones([2, 10, 4]), attention=tf.fill([2, 10], 0.1))
        >>> states.shape
        TensorShape([2, 10, 8])

    Reference:
        Zhou et al., Deep Interest Evolution Network for Click-Through Rate Prediction, equations 2 to 5 (GRU) and
        "GRU with attentional update gate" of its section on interest evolution, arXiv:1809.03672.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        if not (isinstance(units, int) and units > 0):
            raise ValueError(f"`units` must be an integer above 0. Received: {units}.")
        super().__init__(autocast=False, **kwargs)
        self.units = units
        self.supports_masking = True

    def build(self, inputs_shape: Any) -> None:
        """Make the weights of both gates and of the new state, side by side in this order: u, r, h."""
        dim = inputs_shape[-1]
        if dim is None:
            raise ValueError(f"`inputs` must have a known last dimension. Received: shape {inputs_shape}.")
        width = 3 * self.units
        self.kernel = self.add_weight(name="kernel", shape=(dim, width), initializer="glorot_uniform")
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(self.units, width), initializer="orthogonal"
        )
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")
        super().build(inputs_shape)

    def call(self, inputs: tf.Tensor, attention: tf.Tensor | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return the states."""
        # A weight of 1e-4, one of ten thousand, moves a float16 state not at all: states are float32.
        wide = at_least_float32(self.compute_dtype)
        inputs = float_tensor(inputs, "inputs", 3, self.compute_dtype)
        mask = bool_mask(mask, inputs)
        # What of the gates needs no state, in one product for all steps: [batch, length, 3 * units].
        projected = tf.tensordot(blank_padding(inputs, mask), tf.cast(self.kernel, self.compute_dtype), axes=1)
        projected = tf.cast(projected, wide) + tf.cast(self.bias, wide)
        states = self._recurrence(projected, self._weights(attention, mask, inputs, wide))
        return tf.cast(states, self.compute_dtype)

    def _weights(
        self, attention: tf.Tensor | None, mask: tf.Tensor | None, inputs: tf.Tensor, dtype: tf.DType
    ) -> tf.Tensor:
        """Return a_t, and 0 where a step is not real, `[batch, length]`: the state then stays exactly as it is."""
        if attention is None:
            attention = tf.ones(tf.shape(inputs)[:2], dtype)
        attention = float_tensor(attention, "attention", 2, dtype)
        if not attention.shape.is_compatible_with(inputs.shape[:2]):
            raise ValueError(
                f"`attention` must have the shape of `inputs` without its last axis, {inputs.shape[:2]}. "
                f"Received: shape {attention.shape}."
            )
        return attention if mask is None else tf.where(mask, attention, tf.zeros([], dtype))

    def _recurrence(self, projected: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return the states, `[batch, length, units]`, of `[batch, length, 3 * units]` and `[batch, length]`."""
        units, dtype = self.units, projected.dtype
        recurrent_kernel = tf.cast(self.recurrent_kernel, dtype)
        batch, asked = tf.unstack(tf.shape(weights))
        # A graph cannot stack an array of no steps: there is one at least, blank if need be, and it is cut off again.
        length = tf.maximum(asked, 1)
        projected = tf.pad(projected, [[0, 0], [0, length - asked], [0, 0]])
        weights = tf.pad(weights, [[0, 0], [0, length - asked]])
        # Arrays over time: a slice of a tensor per step would cost a gradient of the whole tensor's size per step.
        steps = tf.TensorArray(dtype, length).unstack(tf.transpose(projected, [1, 0, 2]))
        step_weights = tf.TensorArray(dtype, length).unstack(tf.transpose(weights)[..., tf.newaxis])
        states = tf.TensorArray(dtype, length, element_shape=[projected.shape[0], units])

        def step(t: tf.Tensor, state: tf.Tensor, states: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            of_input, of_state = steps.read(t), tf.matmul(state, recurrent_kernel)
            gates = tf.sigmoid(of_input[:, : 2 * units] + of_state[:, : 2 * units])
            update, reset = tf.split(gates, 2, axis=1)
            new = tf.tanh(of_input[:, 2 * units :] + reset * of_state[:, 2 * units :])
            state += step_weights.read(t) * update * (new - state)
            return t + 1, state, states.write(t, state)

        start = (tf.constant(0), tf.zeros([batch, units], dtype), states)
        states = tf.while_loop(lambda t, *_: t < length, step, start, maximum_iterations=length)[2]
        return tf.transpose(states.stack(), [1, 0, 2])[:, :asked]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}
