"""The projection on principal components, against scikit-learn's."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.decomposition import PCA

from mim_tf.encoders import project_on_principal_components, vision_encoder


def batches(count: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(0)
    return [tf.constant(rng.uniform(0, 255, (8, 32, 32, 3)), tf.float32) for _ in range(count)]


def test_embeddings_are_the_principal_components() -> None:
    encoder = vision_encoder("vit_toy", dim=5, image_size=32)
    project_on_principal_components(encoder, batches(6))
    photos = tf.concat(batches(6), axis=0)
    pooled = encoder.pool(photos).numpy()
    expected = PCA(5).fit_transform(pooled)  # each component may point either way
    found = encoder(photos).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_more_dimensions_than_there_are() -> None:
    encoder = vision_encoder("vit_toy", dim=16, image_size=32)
    with pytest.raises(ValueError, match=r"`dim` must be at most 7, for 8 examples of \d+ dimensions. Received: 16\."):
        project_on_principal_components(encoder, batches(1))
