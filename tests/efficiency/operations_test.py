"""Operations are the profiler's where it sees them, and those of what it does not see."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from mim_tf.efficiency.operations import count_operations


def counted(function: Callable[..., Any], *arguments: tf.Tensor) -> int:
    return count_operations(tf.function(function).get_concrete_function(*arguments), *arguments)


def profiled(function: Callable[..., Any], *arguments: tf.Tensor) -> int:
    """What TensorFlow's profiler finds in the graph, whose shapes are all known."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder(
        tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    return tf.compat.v1.profiler.profile(graph, options=options.build()).total_float_ops


def with_gradients(loss: Callable[..., tf.Tensor]) -> Callable[..., Any]:
    """A loss, and its gradients by all arguments."""

    def of(*arguments: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            total = loss(*arguments)
        return total, tape.gradient(total, arguments)

    return of


def two_layers(inputs: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(tf.nn.relu(inputs @ first) @ second))


def convolved(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(tf.nn.conv2d(images, kernel, strides=2, padding="SAME")))


@pytest.mark.parametrize(
    ("loss", "shapes"),
    [(two_layers, ([5, 7], [7, 11], [11, 3])), (convolved, ([2, 8, 8, 3], [4, 4, 3, 6]))],
)
def test_a_graph_of_known_shapes_counts_as_the_profiler_counts_it(
    loss: Callable[..., tf.Tensor], shapes: Sequence[list[int]]
) -> None:
    arguments = [tf.random.normal(shape) for shape in shapes]
    for function in (loss, with_gradients(loss)):
        assert counted(function, *arguments) == profiled(function, *arguments) > 500


def test_each_round_of_a_loop_counts() -> None:
    def powers(matrix: tf.Tensor, rounds: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda i, _: i < rounds, lambda i, power: (i + 1, power @ matrix), [0, matrix])[1]

    # 2 * 4 * 4 * 4 = 128 a round; the counter is an integer.
    for rounds in (0, 1, 7):
        assert counted(powers, tf.eye(4), tf.constant(rounds)) == 128 * rounds


def test_sizes_that_the_data_decide_count_as_they_are() -> None:
    def of_some(rows: tf.Tensor, keep: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        return tf.boolean_mask(rows, keep) @ matrix

    # 3 of 5 rows are kept: 2 * 3 * 4 * 6.
    keep = tf.constant([True, False, True, True, False])
    assert counted(of_some, tf.ones([5, 4]), keep, tf.ones([4, 6])) == 144


def test_of_two_branches_the_one_taken_counts() -> None:
    def either(which: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        return tf.cond(which, lambda: matrix @ matrix, lambda: matrix @ matrix @ matrix)

    assert counted(either, tf.constant(True), tf.eye(3)) == 2 * 27
    assert counted(either, tf.constant(False), tf.eye(3)) == 4 * 27


def test_a_function_of_a_saved_model_counts(tmp_path: Path) -> None:
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([4, 6]))
    module.apply = tf.function(lambda rows: rows @ module.weights, input_signature=[tf.TensorSpec([None, 4])])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))

    # 2 * 5 * 4 * 6 forwards.
    assert counted(loaded.apply, tf.ones([5, 4])) == 240

    def gradient(rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            total = loaded.apply(rows)
        return tape.gradient(total, loaded.weights)

    # And as many for the gradient by the weights; none by the rows, though the called function could give it, nor
    # forwards, whose result is not asked for.
    assert counted(gradient, tf.ones([5, 4])) == 240


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_batch_of_products_counts_two_for_each_term(transpose_a: bool, transpose_b: bool) -> None:
    left = tf.ones([5, 4, 3] if transpose_a else [5, 3, 4])
    right = tf.ones([5, 7, 4] if transpose_b else [5, 4, 7])

    def product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        return tf.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b)

    assert counted(product, left, right) == 2 * (5 * 3 * 4 * 7)


@pytest.mark.parametrize(
    ("equation", "left", "right", "terms"),
    [
        ("ab,bc->ac", [2, 3], [3, 5], 2 * 3 * 5),
        ("abc,cde->abde", [2, 3, 4], [4, 5, 6], 2 * 3 * 4 * 5 * 6),
        ("aecd,abcd->acbe", [2, 7, 3, 4], [2, 5, 3, 4], 2 * 7 * 3 * 4 * 5),  # the scores of an attention
        ("...ij,...jk->...ik", [8, 2, 3, 4], [2, 4, 5], 8 * 2 * 3 * 4 * 5),
    ],
)
def test_an_einsum_counts_two_for_each_term(equation: str, left: list[int], right: list[int], terms: int) -> None:
    def summed(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Einsum(inputs=[left, right], equation=equation)

    assert counted(summed, tf.ones(left), tf.ones(right)) == 2 * terms


def test_an_einsum_that_only_moves_numbers_counts_nothing() -> None:
    assert counted(lambda rows: tf.raw_ops.Einsum(inputs=[rows], equation="ab->ba"), tf.ones([2, 3])) == 0


@pytest.mark.parametrize(
    ("convolution", "kernel", "results", "terms"),
    [
        (tf.nn.conv2d, [7, 5, 3, 4], 2 * (4 * 3) * 4, 7 * 5 * 3),
        (tf.nn.depthwise_conv2d, [3, 3, 3, 2], 2 * (6 * 4) * 6, 3 * 3),
    ],
)
def test_a_convolution_and_its_gradients_count_alike(
    convolution: Any, kernel: list[int], results: int, terms: int
) -> None:
    """Unpadded, at every second place of 13 by 9, a kernel of 7 by 5 has 4 by 3 results, one of 3 by 3 has 6 by 4."""
    images = tf.ones([2, 13, 9, 3])

    def convolve(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return convolution(images, kernel, strides=[1, 2, 2, 1], padding="VALID")

    once = 2 * results * terms
    assert counted(convolve, images, tf.ones(kernel)) == once
    # Forwards, by the images and by the kernel.
    assert counted(with_gradients(convolve), images, tf.ones(kernel)) == 3 * once


def test_a_first_layer_needs_no_gradient_by_its_inputs() -> None:
    def by_weights(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            total = inputs @ kernel
        return total, tape.gradient(total, kernel)

    # 2 * 5 * 4 * 6 forwards and as many for the kernel.
    assert counted(by_weights, tf.ones([5, 4]), tf.ones([4, 6])) == 480


def test_integers_are_no_floating_point() -> None:
    assert counted(lambda ids: (ids * 3 + 1) // 2, tf.range(10)) == 0
    assert counted(lambda numbers: numbers * 3 + 1, tf.range(10.0)) == 20
