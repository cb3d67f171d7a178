"""The deepCTR tower against NumPy, with weights set by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.ranking import DeepCTR

pytestmark = pytest.mark.both_kerases


def test_crosses_and_hidden_layers() -> None:
    rng = np.random.default_rng(0)
    tower, inputs = DeepCTR((5, 3), cross_layers=2), rng.normal(size=(4, 6)).astype(np.float32)
    tower(inputs)
    tower.set_weights([rng.normal(size=weight.shape) for weight in tower.get_weights()])

    x = inputs
    for cross in tower.crosses:  # x_{l+1} = x_0 * (W x_l + b) + x_l
        kernel, bias = cross.get_weights()
        x = inputs * (x @ kernel + bias) + x
    for dense, prelu in zip(tower.hidden, tower.activations, strict=True):
        (kernel, bias), (alpha,) = dense.get_weights(), prelu.get_weights()
        x = x @ kernel + bias
        x = np.where(x > 0, x, alpha * x)
    kernel, bias = tower.logit.get_weights()
    np.testing.assert_allclose(tower(inputs), (x @ kernel + bias)[:, 0], rtol=1e-4, atol=1e-4)


def test_dropout_is_for_training_alone() -> None:
    tower, inputs = DeepCTR((64,), dropout=0.5), tf.random.normal([8, 6])
    np.testing.assert_array_equal(tower(inputs), tower(inputs, training=False))
    assert np.any(np.asarray(tower(inputs, training=True)) != np.asarray(tower(inputs)))


def test_an_unknown_activation_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"`activation` must be one of dice, prelu\. Received: 'relu'\."):
        DeepCTR(activation="relu")
