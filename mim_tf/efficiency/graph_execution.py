"""A TensorFlow function run one operation after the other, with all that happens on the way in sight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import NameAttrList
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.python.eager import context, execute
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

Observer = Callable[[tf.Operation, Sequence[tf.Tensor], Sequence[tf.Tensor]], None]
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_CONDITIONALS = ("If", "StatelessIf")
_CASES = ("Case", "StatelessCase")
_LOOPS = ("While", "StatelessWhile")


class GraphExecution:
    """Executes a function eagerly and tells an observer of every operation with its real inputs and outputs.

    A graph knows the shapes of its tensors as far as they follow from those of its arguments: not how many distinct
    items a batch holds, and not how often a loop goes round. While it is executed both are known. Functions that it
    calls, those of a SavedModel too, branches taken and rounds of loops are executed in the same way. What nobody
    reads is left out, as TensorFlow leaves it out: the gradient by the pixels, for one.

    Args:
        observe: called with each operation, the tensors that it read and those that it made. Calls, branches and loops
            are no operations of their own.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._graphs: dict[str, Any] = {}
        self._plans: dict[tuple[Any, tuple[int, ...]], tuple[list[tf.Operation], Counter]] = {}

    def run(self, function: Any, *arguments: Any) -> list[tf.Tensor]:
        """Execute a concrete function once; what it assigns to variables is assigned.

        Args:
            function: of `tf.function`'s `get_concrete_function`.
            *arguments: nested tensors, as it was traced for.

        Returns:
            Its outputs, in the order of `tf.nest.flatten`.

        Raises:
            ValueError: it holds an operation on functions that is not known here, as one that maps a dataset.
        """
        flat = [tf.convert_to_tensor(value) for value in tf.nest.flatten(arguments)]
        graph = function.graph
        return self._execute(graph, [*flat, *function.captured_inputs], range(len(graph.outputs)))

    def _execute(self, graph: Any, arguments: Sequence[tf.Tensor], wanted: Sequence[int]) -> list[Any]:
        """The outputs of a graph; None for those that are not wanted."""
        needed, readers = self._plan(graph, tuple(wanted))
        values = {of.ref(): value for of, value in zip(graph.inputs, arguments, strict=True)}
        for operation in needed:
            if operation.type == "Placeholder":
                continue
            inputs = [values[tensor.ref()] for tensor in operation.inputs]
            read = [i for i, tensor in enumerate(operation.outputs) if readers[tensor.ref()]]
            outputs = self._outputs(operation, inputs, read)
            values.update((operation.outputs[i].ref(), outputs[i]) for i in read)
            for tensor in operation.inputs:  # the last reader of a tensor frees it
                readers[tensor.ref()] -= 1
                if not readers[tensor.ref()]:
                    values.pop(tensor.ref(), None)
        return [values[tensor.ref()] if i in wanted else None for i, tensor in enumerate(graph.outputs)]

    def _plan(self, graph: Any, wanted: tuple[int, ...]) -> tuple[list[tf.Operation], Counter]:
        """What to execute for some outputs of a graph, in order, and how often each tensor will be read."""
        if (graph, wanted) not in self._plans:
            results = [graph.outputs[i] for i in wanted]
            needed = _needed(graph, results)
            readers = Counter(tensor.ref() for operation in needed for tensor in operation.inputs)
            readers.update(tensor.ref() for tensor in results)
            self._plans[graph, wanted] = needed, readers
        needed, readers = self._plans[graph, wanted]
        return needed, readers.copy()

    def _outputs(self, operation: tf.Operation, inputs: list[tf.Tensor], read: Sequence[int]) -> list[Any]:
        """What an operation makes of its inputs."""
        if operation.type in _CALLS:
            return self._execute(self._graph(operation.get_attr("f")), inputs, read)
        if operation.type in _CONDITIONALS:
            branch = operation.get_attr("then_branch" if inputs[0] else "else_branch")
            return self._execute(self._graph(branch), inputs[1:], read)
        if operation.type in _CASES:
            branches, number = operation.get_attr("branches"), int(inputs[0])
            branch = branches[number if 0 <= number < len(branches) else -1]  # the last one is the default
            return self._execute(self._graph(branch), inputs[1:], read)
        if operation.type in _LOOPS:
            return self._loop(operation, inputs)
        outputs = [_constant(operation)] if operation.type == "Const" else _executed(operation, inputs)
        self._observe(operation, inputs, outputs)
        return outputs

    def _loop(self, operation: tf.Operation, values: list[Any]) -> list[Any]:
        condition, body = (self._graph(operation.get_attr(name)) for name in ("cond", "body"))
        while self._execute(condition, values, [0])[0]:
            values = self._execute(body, values, range(len(values)))
        return values

    def _graph(self, function: NameAttrList) -> Any:
        """The graph of a function that an operation names."""
        if function.name not in self._graphs:
            definition = context.context().get_function_def(function.name)
            self._graphs[function.name] = function_def_to_graph(definition)
        return self._graphs[function.name]


def _needed(graph: Any, results: Sequence[tf.Tensor]) -> list[tf.Operation]:
    """The operations with effects, and those that some results need, each after what it needs itself.

    That is not always the order in which they were made: a loop's gradient adds inputs to the loop.
    """
    open_ones = [tensor.op for tensor in results]
    open_ones += reversed([operation for operation in graph.get_operations() if operation.op_def.is_stateful])
    found: dict[tf.Operation, None] = {}  # in order
    while open_ones:
        operation = open_ones[-1]
        before = [*operation.control_inputs, *(tensor.op for tensor in operation.inputs)]
        missing = [each for each in before if each not in found]
        if operation in found or not missing:
            found[open_ones.pop()] = None
        open_ones += missing
    return list(found)


def _constant(operation: tf.Operation) -> tf.Tensor:
    return tf.constant(tf.make_ndarray(operation.get_attr("value")), operation.outputs[0].dtype)


def _executed(operation: tf.Operation, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    """The outputs of an operation of TensorFlow's own."""
    names = [attribute.name for attribute in operation.op_def.attr]
    attributes = [part for name in names for part in (name, _plain(operation.get_attr(name)))]
    return list(execute.execute(operation.type, len(operation.outputs), inputs, tuple(attributes), context.context()))


def _plain(value: Any) -> Any:
    """An attribute as eager execution takes it."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, tf.DType):
        return value.as_datatype_enum
    if isinstance(value, TensorShapeProto):
        return None if value.unknown_rank else [size.size for size in value.dim]
    if isinstance(value, NameAttrList):  # what happens in it would be missed
        raise ValueError(
            f"`function` must call functions, take branches or loop, and nothing else. Received: {value.name}."
        )
    return value
