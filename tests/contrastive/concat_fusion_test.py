"""Fusion by concatenation against the MLP written out."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import ConcatFusion

pytestmark = pytest.mark.both_kerases


def test_it_is_an_mlp_of_both() -> None:
    layer = ConcatFusion(units=(4,), dim=2)
    image, text = np.random.normal(size=(3, 2)), np.random.normal(size=(3, 3))
    fused = layer(tf.constant(image, tf.float32), tf.constant(text, tf.float32))
    w1, b1, w2, b2 = (np.asarray(weight) for weight in layer.get_weights())
    assert w1.shape == (2 + 3, 4)
    for row in range(3):
        z = np.array([*image[row], *text[row]])
        np.testing.assert_allclose(fused[row], np.maximum(z @ w1 + b1, 0) @ w2 + b2, rtol=1e-4, atol=1e-5)


def test_equal_dimensions_start_as_the_sum_of_both() -> None:
    image, text = tf.random.normal([3, 5]), tf.random.normal([3, 5])
    np.testing.assert_allclose(ConcatFusion(dim=5)(image, text), image + text, rtol=1e-5)


def test_other_dimensions_start_at_random() -> None:
    layer = ConcatFusion(dim=2)
    layer(tf.zeros([1, 2]), tf.zeros([1, 3]))
    kernel, bias = layer.get_weights()
    assert kernel.shape == (5, 2)
    assert len(np.unique(kernel)) == 10
    np.testing.assert_array_equal(bias, [0, 0])


@pytest.mark.parametrize(("units", "dim"), [((0,), 2), ((4,), 0)])
def test_sizes_must_be_positive(units: tuple[int, ...], dim: int) -> None:
    with pytest.raises(ValueError, match=r"`units` and `dim` must be positive"):
        ConcatFusion(units=units, dim=dim)
