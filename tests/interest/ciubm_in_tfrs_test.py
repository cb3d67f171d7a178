"""CiUBM as another team uses it: inside a model of TensorFlow Recommenders, which needs tf_keras."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import DIN, CiUBM

pytestmark = pytest.mark.legacy_keras


def test_a_tfrs_model_is_trained() -> None:
    import tensorflow_recommenders as tfrs

    class Clicks(tfrs.Model):
        def __init__(self) -> None:
            super().__init__()
            self.items = keras.layers.Embedding(10, 4)
            self.interest = CiUBM(DIN((4,)))
            self.click = keras.layers.Dense(1)
            self.task = tfrs.tasks.Ranking(loss=keras.losses.BinaryCrossentropy(from_logits=True))

        def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
            contents = inputs["target_content"], inputs["history_content"]
            history = inputs["history"]
            h_b = self.interest(
                self.items(inputs["target"]), self.items(history), *contents, mask=history > 0, training=training
            )
            return self.task(labels=inputs["label"], predictions=self.click(h_b))

    rng = np.random.default_rng(8)
    contents = {"target_content": rng.normal(size=(2, 3)), "history_content": rng.normal(size=(2, 5, 3))}
    ids = {"target": np.array([3, 4]), "history": np.array([[1, 2, 3, 0, 0], [5, 6, 7, 8, 9]])}
    model = Clicks()
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    inputs = {**ids, **contents, "label": np.array([[1.0], [0.0]])}
    batches = tf.data.Dataset.from_tensors(inputs)
    first = model.fit(batches, verbose=0).history["loss"][0]
    assert model.fit(batches, epochs=5, verbose=0).history["loss"][-1] < first
