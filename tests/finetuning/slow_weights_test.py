"""The momentum encoder: an average of weights, and what a model with these weights would embed."""

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.finetuning.slow_weights import SlowWeights
from tests.finetuning.toy_csft import DIM, SIZE, item_encoder, text, vision

IMAGES = tf.constant(np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)), tf.float32)
TOKEN_IDS = tf.constant([[2, 5, 6, 3, 0, 0, 0, 0]] * 3)


def test_they_follow_by_a_moving_average_and_embed_with_it() -> None:
    items, momentum = item_encoder(), 0.75
    slow = SlowWeights(items, momentum)
    averages = [np.array(variable) for variable in items.trainable_variables]
    random = np.random.default_rng(1)
    for _ in range(3):
        for variable in items.trainable_variables:
            variable.assign_add(random.normal(scale=0.1, size=variable.shape))
        slow.follow()
        weights = [np.array(variable) for variable in items.trainable_variables]
        averages = [momentum * a + (1 - momentum) * w for a, w in zip(averages, weights, strict=True)]
    for average, expected in zip(slow.averages, averages, strict=True):
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)
        assert not average.trainable

    fresh = items(IMAGES, TOKEN_IDS)
    with slow.scope():
        found = items(IMAGES, TOKEN_IDS)
    for variable, average in zip(items.trainable_variables, averages, strict=True):
        variable.assign(average)
    for one, expected, other in zip(found, items(IMAGES, TOKEN_IDS), fresh, strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)
        assert np.abs(one - other).max() > 1e-2


def test_batch_statistics_of_the_encoder_stay_where_they_are() -> None:
    items = ItemEncoder(vision("resnet_toy"), text(), (), DIM)
    slow = SlowWeights(items, 0.9)
    before = [np.array(variable) for variable in items.non_trainable_variables]
    with slow.scope():
        items(IMAGES, TOKEN_IDS, training=True)
    for variable, value in zip(items.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
