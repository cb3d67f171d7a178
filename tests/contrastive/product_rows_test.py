"""Rows of a product, block by block: the same numbers and gradients as from the whole product."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive.product_rows import product_rows

COLUMNS, DIM = 9, 5


def squares(products: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Per row `sum_j w_i p_ij^2` and `p_i0`."""
    return tf.stack([tf.reduce_sum(weights[:, tf.newaxis] * products**2, axis=1), products[:, 0]], axis=1)


# Fewer than a block, whole blocks, and a last one of a single row.
@pytest.mark.parametrize("rows", [1, 7, 256, 512, 513])
@pytest.mark.parametrize("compiled", [False, True])
def test_rows_and_gradients_equal_numpys_of_the_whole_product(rows: int, compiled: bool) -> None:
    rng = np.random.default_rng(rows)
    x, y, weights = rng.normal(size=(rows, DIM)), rng.normal(size=(COLUMNS, DIM)), rng.normal(size=rows)
    upstream = rng.normal(size=(rows, 2))

    def rows_and_gradients(x: tf.Tensor, y: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            result = product_rows(squares, x, y, weights)
        return result, tape.gradient(result, [x, y], tf.constant(upstream, tf.float32))

    function = tf.function(rows_and_gradients) if compiled else rows_and_gradients
    result, (by_x, by_y) = function(*(tf.constant(value, tf.float32) for value in (x, y, weights)))
    products = x @ y.T
    np.testing.assert_allclose(result, np.stack([weights * (products**2).sum(1), products[:, 0]], 1), atol=1e-4)
    # d/dp of w p^2 is 2 w p; the second output adds its upstream to column 0.
    by_products = 2 * upstream[:, :1] * weights[:, np.newaxis] * products
    by_products[:, 0] += upstream[:, 1]
    np.testing.assert_allclose(by_x, by_products @ y, atol=1e-3)
    np.testing.assert_allclose(by_y, by_products.T @ x, atol=1e-2)


def test_the_number_of_rows_may_be_unknown() -> None:
    function = tf.function(
        lambda x: product_rows(lambda products: products[:, :1], x, tf.eye(3)),
        input_signature=[tf.TensorSpec([None, 3])],
    )
    np.testing.assert_array_equal(function(tf.eye(3))[:, 0], [1, 0, 0])


def test_no_block_is_larger_than_it_need_be() -> None:
    seen = []

    def note(products: tf.Tensor) -> tf.Tensor:
        seen.append(products.shape[0])
        return products[:, :1]

    product_rows(note, tf.ones([700, 2]), tf.ones([3, 2]))
    assert max(seen) == 256
    assert sum(seen) == 700
