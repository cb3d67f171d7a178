"""AUGRU, a GRU whose attention weights say how far each step may move the state."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.augru_states import augru_states
from mim_tf.interest.behaviours import bool_mask, float_tensor
from mim_tf.interest.candidates import repeat
from mim_tf.interest.packed_steps import PackedSteps
from mim_tf.interest.precision import at_least_float32
from mim_tf.interest.sizes import check_sizes


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

    Padding takes no time: step t is computed for those users alone who have at least t real steps. XLA, which wants to
    know all shapes, cannot compile that.

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
        check_sizes(units=units)
        super().__init__(autocast=False, **kwargs)
        self.units = units
        self.supports_masking = True
        self.supports_jit = False  # XLA has no tensors with fewer users at each step

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
        inputs = float_tensor(inputs, "inputs", 3, self.compute_dtype)
        mask = bool_mask(mask, inputs)
        steps = PackedSteps.of(tf.ones(tf.shape(inputs)[:2], tf.bool) if mask is None else mask)
        if attention is not None:
            attention = steps.pack(self._checked_attention(attention, inputs))
        return steps.passed_on(self.states_of(steps, steps.pack(inputs), attention))

    def states_of(self, steps: PackedSteps, inputs: tf.Tensor, attention: tf.Tensor | None = None) -> tf.Tensor:
        """Return the state after each real step, of packed rows: for a caller who has packed already.

        Args:
            steps: how they were packed.
            inputs: `[real, dim]`, in the layer's compute dtype.
            attention: `[real]`, in at least float32; None for all 1. Or `[real, candidates]`, where several recurrences
                go over the same inputs with an attention each.

        Returns:
            `[real, units]`, or `[real, candidates, units]`, in the layer's compute dtype.
        """
        # A weight of 1e-4, one of ten thousand, moves a float16 state not at all: states are float32.
        wide = at_least_float32(self.compute_dtype)
        kernels = tf.split(tf.cast(self.kernel, self.compute_dtype), 3, axis=1)
        biases = tf.split(tf.cast(self.bias, wide), 3)
        # What of each gate needs no state, for all steps at once.
        of_inputs = [
            tf.nn.bias_add(tf.cast(tf.matmul(inputs, kernel), wide), bias)
            for kernel, bias in zip(kernels, biases, strict=True)
        ]
        weights = tf.ones(tf.shape(inputs)[:1], wide) if attention is None else attention
        recurrent_kernels = tf.split(tf.cast(self.recurrent_kernel, wide), 3, axis=1)
        bounds = steps.bounds
        if weights.shape.rank == 2:  # rows of their own to the recurrences: a step is still of the first ones
            of_inputs, bounds = [repeat(rows, weights) for rows in of_inputs], bounds * tf.shape(weights)[1]
        states = augru_states(of_inputs, tf.reshape(weights, [-1, 1]), recurrent_kernels, bounds)
        states = tf.reshape(states, tf.concat([tf.shape(weights), [self.units]], axis=0))
        return tf.cast(states, self.compute_dtype)

    def _checked_attention(self, attention: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """Return the attention in at least float32."""
        attention = float_tensor(attention, "attention", 2, at_least_float32(self.compute_dtype))
        if not attention.shape.is_compatible_with(inputs.shape[:2]):
            raise ValueError(
                f"`attention` must have the shape of `inputs` without its last axis, {inputs.shape[:2]}. "
                f"Received: shape {attention.shape}."
            )
        return attention

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "units": self.units}
