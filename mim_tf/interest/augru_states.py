"""AUGRU's recurrence over packed steps, and its gradient.

The gradient that TensorFlow derives of a loop keeps each intermediate of each step. Ours keeps five tensors per step
and takes the derivative of each gate in one operation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

_ARRAY = tf.TensorShape(None)  # how a loop calls the shape of an array


class _Kept(NamedTuple):
    """What the gradient needs of all steps: first arrays over the steps, then tensors, `[real, units]` but the first.

    Attributes:
        states: `[first + real, units]`, those before the first step, and those after each.
        update: u_t.
        reset: r_t.
        recalled: U_h h_(t-1).
        new: h~_t.
    """

    states: Any
    update: Any
    reset: Any
    recalled: Any
    new: Any


@tf.custom_gradient
def augru_states(
    inputs: list[tf.Tensor], weights: tf.Tensor, kernels: list[tf.Tensor], bounds: tf.Tensor
) -> tuple[tf.Tensor, Callable[..., Any]]:
    """Return the state after each step, `[real, units]`, in the rows of `PackedSteps`.

    Args:
        inputs: what of u, r and h~ needs no state, `W i_t + b`, `[real, units]` each.
        weights: `[real, 1]`, a_t.
        kernels: U of u, r and h~, `[units, units]` each.
        bounds: as of `PackedSteps`.
    """
    first = bounds[1, 0]  # users of the first step
    # Tensors, not arrays: a SavedModel keeps gradients too, and no arrays between them.
    kept = _Kept(*(array.concat() for array in _forward(inputs, weights, kernels, bounds, first)))

    def gradient(by_states: tf.Tensor) -> tuple[Any, ...]:
        return *_backward(by_states, weights, kernels, bounds, kept), None

    return kept.states[first:], gradient


def _forward(
    inputs: list[tf.Tensor], weights: tf.Tensor, kernels: list[tf.Tensor], bounds: tf.Tensor, first: tf.Tensor
) -> _Kept:
    """Return arrays over the steps."""
    units, dtype = kernels[0].shape[0], weights.dtype
    steps = tf.shape(bounds)[0] - 1

    def step(t: tf.Tensor, state: tf.Tensor, kept: _Kept) -> tuple[tf.Tensor, tf.Tensor, _Kept]:
        to_update, to_reset, to_new, weight = _rows_of_step(t, bounds, *inputs, weights)
        state = state[: tf.shape(weight)[0]]
        of_update, of_reset, recalled = (tf.matmul(state, kernel) for kernel in kernels)
        update, reset = tf.sigmoid(to_update + of_update), tf.sigmoid(to_reset + of_reset)
        new = tf.tanh(to_new + reset * recalled)
        state += weight * update * (new - state)
        gates = (array.write(t, gate) for array, gate in zip(kept[1:], (update, reset, recalled, new), strict=True))
        return t + 1, state, _Kept(kept.states.write(t + 1, state), *gates)

    start = tf.zeros([first, units], dtype)
    arrays = _Kept(_array(dtype, steps + 1, units).write(0, start), *(_array(dtype, steps, units) for _ in range(4)))
    shapes = tf.TensorShape([]), tf.TensorShape([None, units]), _Kept(*[_ARRAY] * 5)
    return tf.while_loop(lambda t, *_: t < steps, step, (0, start, arrays), shapes)[2]


def _backward(
    by_states: tf.Tensor, weights: tf.Tensor, kernels: list[tf.Tensor], bounds: tf.Tensor, kept: _Kept
) -> tuple[list[tf.Tensor], tf.Tensor, list[tf.Tensor]]:
    """Return the gradients of inputs, weights and kernels, given those of the states; last step first."""
    units, dtype = kernels[0].shape[0], weights.dtype
    steps = tf.shape(bounds)[0] - 1
    previous_bounds = tf.concat([[[0]], bounds[1] + bounds[:-1]], axis=0)

    def step(
        t: tf.Tensor,
        by_state: tf.Tensor,
        by_inputs: list[tf.TensorArray],
        by_weights: tf.TensorArray,
        by_kernels: list[tf.Tensor],
    ) -> tuple[Any, ...]:
        by_own, weight, *gates = _rows_of_step(t, bounds, by_states, weights, *kept[1:])
        users = tf.shape(weight)[0]
        (previous,) = _rows_of_step(t, previous_bounds, kept.states)
        # Users whose last step this is have no gradient from later ones.
        by_state = by_own + tf.pad(by_state, [[0, users - tf.shape(by_state)[0]], [0, 0]])
        previous = previous[:users]
        by_state, by_weight, by_gates, by_products = _backward_step(by_state, weight, previous, *gates)
        for by_product, kernel in zip(by_products, kernels, strict=True):
            by_state += tf.matmul(by_product, kernel, transpose_b=True)
        by_kernels = [
            by_kernel + tf.matmul(previous, by_product, transpose_a=True)
            for by_kernel, by_product in zip(by_kernels, by_products, strict=True)
        ]
        by_inputs = [array.write(t, by_gate) for array, by_gate in zip(by_inputs, by_gates, strict=True)]
        return t - 1, by_state, by_inputs, by_weights.write(t, by_weight), by_kernels

    nobody = tf.zeros([0, units], dtype)  # goes on after the last step
    arrays = [_array(dtype, steps, units) for _ in kernels], _array(dtype, steps, 1)
    zeros = [tf.zeros_like(kernel) for kernel in kernels]
    shapes = (
        tf.TensorShape([]),
        tf.TensorShape([None, units]),
        [_ARRAY] * 3,
        _ARRAY,
        [kernel.shape for kernel in kernels],
    )
    loop = tf.while_loop(lambda t, *_: t >= 0, step, (steps - 1, nobody, *arrays, zeros), shapes)
    _, _, by_inputs, by_weights, by_kernels = loop
    return [array.concat() for array in by_inputs], by_weights.concat(), by_kernels


def _backward_step(
    by_state: tf.Tensor,
    weight: tf.Tensor,
    previous: tf.Tensor,
    update: tf.Tensor,
    reset: tf.Tensor,
    recalled: tf.Tensor,
    new: tf.Tensor,
) -> tuple[Any, ...]:
    """Return the gradients of h_(t-1) but for its products, of a_t, of each gate's argument, of the products U h_(t-1).

    TensorFlow's kernels of the derivatives take the result y: `by_y * y * (1 - y)` and `by_y * (1 - y * y)`.
    """
    by_share, by_move = by_state * (new - previous), by_state * (weight * update)  # of a_t u_t and h~_t
    by_update = tf.raw_ops.SigmoidGrad(y=update, dy=weight * by_share)
    by_new = tf.raw_ops.TanhGrad(y=new, dy=by_move)
    by_reset = tf.raw_ops.SigmoidGrad(y=reset, dy=by_new * recalled)
    by_weight = tf.reduce_sum(by_share * update, axis=1, keepdims=True)
    by_gates, by_products = (by_update, by_reset, by_new), (by_update, by_reset, by_new * reset)
    return by_state - by_move, by_weight, by_gates, by_products


def _array(dtype: tf.DType, steps: tf.Tensor, width: int) -> tf.TensorArray:
    """Return an array of `[users, width]`, with fewer users at later steps."""
    return tf.TensorArray(dtype, steps, infer_shape=False, element_shape=[None, width])


def _rows_of_step(t: tf.Tensor, bounds: tf.Tensor, *values: tf.Tensor) -> list[tf.Tensor]:
    """Return each tensor's rows of step t."""
    begin, end = tf.gather(bounds, t), tf.gather(bounds, t + 1)
    return [tf.strided_slice(value, begin, end) for value in values]
