"""The image-text loss against NumPy."""

import numpy as np
import tensorflow as tf

from mim_tf.pretraining.image_text import image_text_loss


def softmax_loss(similarities: np.ndarray, kept: np.ndarray) -> float:
    """Mean of `-log softmax` on the diagonal, over the kept candidates of each row."""
    weights = np.exp(similarities) * kept
    return float(-np.log(np.diag(weights) / weights.sum(axis=1)).mean())


def test_the_loss_is_symmetric_infonce_without_equal_titles() -> None:
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    tokens = np.array([[2, 5, 3], [2, 6, 3], [2, 5, 3], [2, 7, 3]])  # rows 0 and 2 have the same title
    kept = np.ones((4, 4))
    kept[0, 2] = kept[2, 0] = 0
    unit = [h / np.linalg.norm(h, axis=1, keepdims=True) for h in (images, texts)]
    similarities = unit[0] @ unit[1].T / 0.5
    expected = (softmax_loss(similarities, kept) + softmax_loss(similarities.T, kept)) / 2
    scalars = image_text_loss(tf.constant(images), tf.constant(texts), tf.constant(tokens), temperature=0.5)
    np.testing.assert_allclose(scalars["loss"], expected, rtol=1e-5)


def test_aligned_embeddings_are_all_first() -> None:
    scalars = image_text_loss(tf.eye(4), tf.eye(4), tf.range(4)[:, tf.newaxis], temperature=1.0)
    assert scalars["image_to_text_accuracy"] == 1
    assert scalars["text_to_image_accuracy"] == 1
    # log(1 + 3 / e): the positive has cosine 1, the three others 0
    np.testing.assert_allclose(scalars["loss"], np.log(1 + 3 / np.e), rtol=1e-5)
