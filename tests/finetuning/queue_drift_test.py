"""Drift against NumPy: an encoder whose embeddings turn by a known angle at every step."""

import keras
import numpy as np
import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEmbeddings
from mim_tf.finetuning.queue_drift import QueueDrift
from mim_tf.finetuning.slow_weights import SlowWeights

IMAGES, TOKEN_IDS = tf.zeros([2, 8, 8, 3], tf.uint8), tf.zeros([2, 4], tf.int32)


class Turning(keras.layers.Layer):
    """Embeds everything at an angle; images turn once as far as titles, fusions not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.angle = self.add_weight(shape=(), initializer="zeros", name="angle")

    def call(self, images: tf.Tensor, token_ids: tf.Tensor, training: bool = False) -> ItemEmbeddings:
        def at(angle: tf.Tensor) -> tf.Tensor:
            return 3.0 * tf.repeat([[tf.cos(angle), tf.sin(angle)]], images.shape[0], axis=0)

        return ItemEmbeddings(at(2 * self.angle), at(self.angle.value), at(tf.constant(0.5)))


def test_the_drift_is_that_of_k_steps_and_stands_for_k_steps() -> None:
    encoder = Turning()
    drift = QueueDrift(encoder, IMAGES, TOKEN_IDS, every=3, dim=2)
    step = tf.function(drift.observe)
    found = []
    for number in range(10):
        encoder.angle.assign(0.1 * number)
        found.append([float(value) for value in step().values()])
    still = [0.0, 0.0, 0.0]
    turned = [1 - np.cos(0.6), 1 - np.cos(0.3), 0.0]
    np.testing.assert_allclose(found, [still] * 3 + [turned] * 7, atol=1e-6)
    assert list(step()) == ["queue_drift_image", "queue_drift_text", "queue_drift_fused"]


def test_with_slow_weights_it_is_how_far_these_are_behind() -> None:
    encoder = Turning()
    encoder.built = True
    slow = SlowWeights(encoder, 0.5)
    drift = QueueDrift(encoder, IMAGES, TOKEN_IDS, every=2, dim=2, slow=slow)
    angles, slow_angle, slow_angles, found = np.array([0.0, 0.3, 0.4, 0.6, 0.5]), 0.0, [], []
    step = tf.function(drift.observe)
    for angle in angles:
        encoder.angle.assign(angle)
        slow.follow()
        slow_angle = (slow_angle + angle) / 2
        slow_angles.append(slow_angle)
        found.append(float(step()["queue_drift_text"]))
    then_and_now = [(slow_angles[0], angles[2]), (slow_angles[2], angles[4])]
    second, fourth = (1 - np.cos(now - then) for then, now in then_and_now)
    np.testing.assert_allclose(found, [0, 0, second, second, fourth], atol=1e-6)
