"""Binary matching against NumPy."""

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.item_matching import ItemMatching
from mim_tf.finetuning.multi_level import MultiLevel

TEMPERATURE, BIAS = 0.2, np.array([0.3, -0.5, 1.0])


def test_the_loss_is_binary_cross_entropy_of_chosen_items_and_hard_negatives() -> None:
    random = np.random.default_rng(0)
    queries, items = random.normal(size=(5, 4)), random.normal(size=(5, 2, 3, 4))
    layer = ItemMatching(MultiLevel(alpha=0.5, beta=0.25), TEMPERATURE)
    layer.bias.assign(BIAS)
    cosines = np.einsum("qd,qcld->qcl", queries, items)
    cosines /= np.linalg.norm(queries, axis=-1)[:, None, None] * np.linalg.norm(items, axis=-1)
    probabilities = 1 / (1 + np.exp(-(cosines / TEMPERATURE + BIAS)))
    by_level = -(np.log(probabilities[:, 0]) + np.log(1 - probabilities[:, 1])).mean(axis=0) / 2
    scalars = layer(tf.constant(queries, tf.float32), tf.constant(items, tf.float32), {})
    parts = [scalars[f"query_to_{level}_loss"] for level in ("item", "text", "image")]
    np.testing.assert_allclose(parts, by_level, rtol=1e-5)
    np.testing.assert_allclose(scalars["loss"], by_level @ [1, 0.5, 0.25], rtol=1e-5)
    nearer = (cosines[:, 0, 0] > cosines[:, 1, 0]).mean()
    np.testing.assert_allclose(scalars["query_to_item_accuracy"], nearer)


def test_the_bias_learns() -> None:
    layer = ItemMatching(MultiLevel(0, 0), TEMPERATURE)
    with tf.GradientTape() as tape:
        # All cosines are 1: told apart by nothing, so the best bias takes them down to a half.
        loss = layer(tf.ones([2, 4]), tf.ones([2, 2, 1, 4]), {})["loss"]
    (gradient,) = tape.gradient(loss, layer.trainable_variables)
    np.testing.assert_allclose(gradient, [1 / (1 + np.exp(-1 / TEMPERATURE)) - 0.5], rtol=1e-5)
