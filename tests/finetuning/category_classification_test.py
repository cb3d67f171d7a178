"""Category classification against NumPy."""

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.category_classification import CategoryClassification
from mim_tf.finetuning.multi_level import MultiLevel

TEMPERATURE = 0.3


def test_the_loss_is_cross_entropy_over_categories_of_the_query_and_of_each_level() -> None:
    random = np.random.default_rng(0)
    queries, items, embeddings = (random.normal(size=shape) for shape in ((6, 4), (6, 1, 3, 4), (5, 4)))
    categories = random.integers(0, 5, 6)
    layer = CategoryClassification(MultiLevel(alpha=0.5, beta=0.25), TEMPERATURE, categories=5, dim=4)
    layer.embeddings.assign(embeddings)

    def of(rows: np.ndarray) -> tuple[float, float]:
        cosines = rows @ embeddings.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(embeddings, axis=1)
        weights = np.exp(cosines / TEMPERATURE)
        right = weights[np.arange(6), categories]
        return -np.log(right / weights.sum(axis=1)).mean(), (weights.argmax(axis=1) == categories).mean()

    inputs = tf.constant(queries, tf.float32), tf.constant(items, tf.float32)
    scalars = layer(*inputs, {"category": tf.constant(categories)})
    expected = [of(rows) for rows in (queries, items[:, 0, 0], items[:, 0, 1], items[:, 0, 2])]
    names = ("query_loss", "query_to_item_loss", "query_to_text_loss", "query_to_image_loss")
    np.testing.assert_allclose([scalars[name] for name in names], [loss for loss, _ in expected], rtol=1e-5)
    whole = np.dot([loss for loss, _ in expected], [1, 1, 0.5, 0.25])
    np.testing.assert_allclose(scalars["loss"], whole, rtol=1e-5)
    np.testing.assert_allclose(scalars["category_accuracy"], expected[1][1])
