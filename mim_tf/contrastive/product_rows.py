"""What is made of the rows of `x y^T`, of which never more than a block is held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_BLOCK = 256  # rows


def product_rows(function: Callable[..., tf.Tensor], x: tf.Tensor, y: tf.Tensor, *labels: tf.Tensor) -> tf.Tensor:
    """`function(x y^T, *labels)`, a block of rows at a time, forwards and backwards.

    The similarities of 4,096 images and titles are 67 MB, and a softmax and its gradient are several such matrices.
    Here gradients are taken from products that are computed anew, so memory grows with the columns alone.

    Args:
        function: of products `[block, columns]` and, of each label, `[block, ...]` to `[block, outputs]` float32; of a
            row, it takes that row alone.
        x: `[rows, dim]` float32.
        y: `[columns, dim]` float32.
        labels: `[rows, ...]` each, any dtype; no gradient flows to them.

    Returns:
        `[rows, outputs]`.
    """

    def of_block(x: tf.Tensor, y: tf.Tensor, rows: slice) -> tf.Tensor:
        return function(tf.matmul(x, y, transpose_b=True), *(label[rows] for label in labels))

    @tf.custom_gradient
    def of_all(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        def forward(rows: slice, outputs: tf.TensorArray) -> tuple[tf.TensorArray]:
            return (_append(outputs, of_block(x[rows], y, rows)),)

        def gradient(by_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def backward(rows: slice, by_x: tf.TensorArray, by_y: tf.Tensor) -> tuple[tf.TensorArray, tf.Tensor]:
                sources = x[rows], y
                with tf.GradientTape() as tape:
                    tape.watch(sources)
                    outputs = of_block(*sources, rows)
                by_own_x, by_all_y = tape.gradient(outputs, sources, by_outputs[rows])
                return _append(by_x, by_own_x), by_y + by_all_y

            by_x, by_y = _over_blocks(backward, tf.shape(x)[0], _rows_of(x.shape[1:]), tf.zeros_like(y))
            return by_x.concat(), by_y

        (outputs,) = _over_blocks(forward, tf.shape(x)[0], _rows_of([None]))
        return outputs.concat(), gradient

    return of_all(x, y)


def _over_blocks(body: Callable[..., tuple[Any, ...]], rows: tf.Tensor, *state: Any) -> tuple[Any, ...]:
    def step(start: tf.Tensor, *state: Any) -> tuple[Any, ...]:
        return start + _BLOCK, *body(slice(start, start + _BLOCK), *state)

    _, *state = tf.while_loop(lambda start, *_: start < rows, step, (0, *state), parallel_iterations=1)
    return tuple(state)


def _rows_of(shape: Any) -> tf.TensorArray:
    return tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=[None, *shape])


def _append(array: tf.TensorArray, rows: tf.Tensor) -> tf.TensorArray:
    return array.write(array.size(), rows)
