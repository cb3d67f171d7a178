"""Operation by operation a function does what it does at once, and no more."""

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.efficiency.graph_execution import GraphExecution, Observer


def executed(function: Any, *arguments: Any, observe: Observer = lambda *_: None) -> list[tf.Tensor]:
    return GraphExecution(observe).run(tf.function(function).get_concrete_function(*arguments), *arguments)


def types_of(function: Any, *arguments: Any) -> list[str]:
    """What is executed."""
    types: list[str] = []
    executed(function, *arguments, observe=lambda operation, *_: types.append(operation.type))
    return types


@tf.function
def called(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return rows * 2, tf.exp(rows)


def winding(rows: tf.Tensor, names: tf.Tensor, scale: tf.Tensor) -> Any:
    """A bit of everything that decides while it runs."""
    kept = tf.boolean_mask(rows, rows[:, 0] > 0)
    _, grown = tf.while_loop(
        lambda i, grown: tf.reduce_sum(grown) < 100,
        lambda i, grown: (i + 1, tf.concat([grown, called(grown)[0]], axis=0)),
        [0, kept],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2])],
    )
    chosen = tf.switch_case(tf.size(kept) - 4, [lambda: kept + 1, lambda: kept - 1])
    distinct, numbers = tf.unique(names)
    lengths = tf.numpy_function(lambda texts: np.array([len(text) for text in texts]), [distinct], tf.int64)
    return {
        "grown": tf.cond(tf.size(names) > 2, lambda: grown, lambda: grown * 0),
        "chosen": tf.einsum("ab,bc->ac", chosen, scale),
        "lengths": tf.gather(lengths, numbers),
        "mapped": tf.map_fn(lambda text: tf.strings.length(text) * 3, names, fn_output_signature=tf.int32),
        "halves": tf.split(rows, [1, -1], axis=1),
    }


@pytest.mark.parametrize("first", [1.0, -1.0])
def test_outputs_are_the_functions_own(first: float) -> None:
    rows = tf.constant([[first, 2.0], [3.0, -1.0], [5.0, 6.0]])
    names, scale = tf.constant(["a", "bcd", "a"]), tf.constant([[1.0, 0.5], [2.0, 1.0]])
    expected = tf.nest.flatten(tf.function(winding)(rows, names, scale))
    for found, wanted in zip(executed(winding, rows, names, scale), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_gradient_is_the_functions_own() -> None:
    kernel = tf.Variable([[0.5, -1.0], [2.0, 0.25]])

    def gradient(rows: tf.Tensor, rounds: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            power = tf.while_loop(lambda i, _: i < rounds, lambda i, power: (i + 1, power @ kernel), [0, rows])[1]
            loss = tf.reduce_sum(tf.square(power))
        return tape.gradient(loss, kernel)

    rows = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    [found] = executed(gradient, rows, tf.constant(3))
    np.testing.assert_allclose(found, gradient(rows, tf.constant(3)), rtol=1e-6)


def test_variables_are_assigned_once() -> None:
    counter = tf.Variable(0)

    def count() -> tf.Tensor:
        counter.assign_add(1)
        return counter.read_value() * 10

    [found] = executed(count)
    assert (int(found), int(counter)) == (10, 1)


def test_what_nobody_reads_is_not_executed() -> None:
    def doubled(rows: tf.Tensor) -> tf.Tensor:
        tf.sqrt(rows)
        return called(rows)[0]  # and not the exponential

    assert types_of(doubled, tf.ones([2])).count("Mul") == 1
    assert not {"Sqrt", "Exp"} & set(types_of(doubled, tf.ones([2])))


def test_a_loop_shows_every_round() -> None:
    def powers(matrix: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda i, _: i < 5, lambda i, power: (i + 1, power @ matrix), [0, matrix])[1]

    assert types_of(powers, tf.eye(2)).count("MatMul") == 5


def test_a_tensor_is_freed_after_its_last_reader() -> None:
    made: list[Any] = []
    alive: list[int] = []

    def remember(operation: tf.Operation, _: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor]) -> None:
        if operation.type == "Sin":
            alive.append(sum(tensor() is not None for tensor in made))
            made.append(weakref.ref(outputs[0]))

    def chain(rows: tf.Tensor) -> tf.Tensor:
        for _ in range(6):
            rows = tf.sin(rows)
        return rows

    executed(chain, tf.ones([3]), observe=remember)
    assert alive == [0, 1, 1, 1, 1, 1]  # its input alone


def test_an_operation_on_functions_that_would_be_missed_is_refused() -> None:
    def summed(count: tf.Tensor) -> tf.Tensor:
        return tf.data.Dataset.range(count).map(lambda number: number * 2).reduce(tf.constant(0, tf.int64), tf.add)

    with pytest.raises(ValueError, match="`function` must call functions, take branches or loop, and nothing else"):
        executed(summed, tf.constant(3, tf.int64))
