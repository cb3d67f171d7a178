"""Floating point operations of a function on real inputs, by the statistics of TensorFlow's profiler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.profiler.internal import flops_registry  # noqa: F401  registers the statistics

from mim_tf.efficiency.graph_execution import GraphExecution

_BROADCAST = "..."


def count_operations(function: Any, *arguments: Any) -> int:
    """Floating point operations of one call of a function, which is executed once.

    What an operation of TensorFlow counts is what the profiler (`tf.compat.v1.profiler`, `float_operation`) counts for
    it: two for each multiplication that is added up, in products of matrices and in convolutions; mostly one for each
    number that element by element operations and sums make. Counted here are `Einsum` and the gradients of depthwise
    convolutions, of which it has no statistics; batches of products, of whose transposed matrices it takes the wrong
    axis; and the gradients of convolutions, for which it takes the image's size for that of the result. It has no
    statistics of look-ups, roots, exponentials and what decodes and resizes images, which count nothing here either;
    nor do operations on integers.

    The profiler itself reads a graph. It passes over all whose shapes do not follow from the graph's and over functions
    that are called, and takes a loop's body once or not at all. So each operation is counted here while it is executed,
    as `GraphExecution` does, with the shapes that it then has.

    Args:
        function: concrete, of `tf.function`'s `get_concrete_function`; what it assigns to variables is assigned.
        *arguments: as it takes them.

    Returns:
        How many.
    """
    total = 0

    def count(operation: tf.Operation, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> None:
        nonlocal total
        if any(tensor.dtype.is_floating for tensor in inputs):
            total += _operations_of(operation, inputs, outputs)

    GraphExecution(count).run(function, *arguments)
    return total


def _operations_of(operation: tf.Operation, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> int:
    if operation.type == "Einsum":
        return _einsum(operation.get_attr("equation").decode(), [tensor.shape for tensor in inputs])
    if operation.type in ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        added_up = inputs[0].shape[-2 if operation.get_attr("adj_x") else -1]
        return 2 * added_up * outputs[0].shape.num_elements()
    if operation.type in ("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput"):
        return _convolution(operation, kernel=inputs[1].shape, results=inputs[2].shape)
    if operation.type in ("Conv2DBackpropFilter", "DepthwiseConv2dNativeBackpropFilter"):
        return _convolution(operation, kernel=outputs[0].shape, results=inputs[2].shape)
    executed = _Executed(operation, inputs, outputs)
    return int(ops.get_stats_for_node_def(executed, operation.node_def, "flops").value or 0)


def _einsum(equation: str, shapes: Sequence[tf.TensorShape]) -> int:
    """Two for each term that is added up; none where nothing is multiplied."""
    if len(shapes) == 1:
        return 0
    sizes: dict[str, int] = {}
    of_inputs = equation.partition("->")[0].split(",")
    for labels, size in chain.from_iterable(map(_labelled, of_inputs, shapes)):
        sizes[labels] = max(size, sizes.get(labels, 1))
    return 2 * math.prod(sizes.values())


def _labelled(labels: str, shape: tf.TensorShape) -> list[tuple[str, int]]:
    """Each axis by its label; those of an ellipsis by their place from its end, as broadcasting pairs them."""
    before, _, after = labels.partition(_BROADCAST)
    broadcast = shape.rank - len(before) - len(after)
    names = [*before, *(f"{_BROADCAST}{place}" for place in range(broadcast, 0, -1)), *after]
    return list(zip(names, shape.as_list(), strict=True))


def _convolution(operation: tf.Operation, kernel: tf.TensorShape, results: tf.TensorShape) -> int:
    """A gradient meets the pairs of factors that the convolution itself did.

    Each of its results was a sum over the kernel, `[height, width, channels, ...]`; depthwise, over one channel of it.
    """
    terms = kernel[0] * kernel[1] * (1 if operation.type.startswith("Depthwise") else kernel[2])
    return 2 * terms * results.num_elements()


class _Executed:
    """What the statistics ask a graph for: the shapes of an operation's tensors by their names."""

    def __init__(self, operation: tf.Operation, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> None:
        named = chain(zip(operation.inputs, inputs, strict=True), zip(operation.outputs, outputs, strict=True))
        self._tensors = {of.name: tensor for of, tensor in named}

    def get_tensor_by_name(self, name: str) -> tf.Tensor:
        return self._tensors[name]
