"""The tensor fusion network against the outer product written out."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import TensorFusion

pytestmark = pytest.mark.both_kerases


def test_it_is_an_mlp_of_the_outer_product() -> None:
    layer = TensorFusion(units=(4,), dim=2)
    image, text = np.random.normal(size=(3, 2)), np.random.normal(size=(3, 3))
    fused = layer(tf.constant(image, tf.float32), tf.constant(text, tf.float32))
    w1, b1, w2, b2 = (np.asarray(weight) for weight in layer.get_weights())
    assert w1.shape == (12, 4)  # (2 + 1) x (3 + 1) products
    for row in range(3):
        z = np.outer([*image[row], 1], [*text[row], 1]).ravel()
        np.testing.assert_allclose(fused[row], np.maximum(z @ w1 + b1, 0) @ w2 + b2, rtol=1e-4, atol=1e-5)


def test_a_modality_alone_is_among_the_products() -> None:
    # With the image at zero only the last row of z = [0, 0, 1] x [h_txt; 1] is left: the title itself and the 1.
    layer = TensorFusion(dim=2)
    text = tf.constant([[2.0, -1.0, 0.5]])
    fused = layer(tf.zeros([1, 2]), text)
    kernel, _ = layer.get_weights()
    np.testing.assert_allclose(fused[0], np.array([2.0, -1.0, 0.5, 1.0]) @ kernel.reshape(3, 4, 2)[2], rtol=1e-5)


@pytest.mark.parametrize(("units", "dim"), [((0,), 2), ((4,), 0)])
def test_sizes_must_be_positive(units: tuple[int, ...], dim: int) -> None:
    with pytest.raises(ValueError, match=r"`units` and `dim` must be positive"):
        TensorFusion(units=units, dim=dim)


def test_equal_dimensions_start_as_the_sum_of_both() -> None:
    image, text = tf.random.normal([3, 5]), tf.random.normal([3, 5])
    np.testing.assert_allclose(TensorFusion(dim=5)(image, text), image + text, rtol=1e-5)
