"""PatchEmbedding against NumPy."""

import keras
import numpy as np

from mim_tf.encoders.vision.patch_embedding import PatchEmbedding


def test_each_patch_is_projected_and_gets_its_position() -> None:
    layer = PatchEmbedding(hidden_dim=5, patch_size=4)
    images = np.random.default_rng(0).normal(size=(2, 8, 14, 3)).astype(np.float32)  # 2 by 3 patches, 2 columns over
    tokens = layer(images)
    assert tokens.shape == layer.compute_output_shape((2, 8, 14, 3)) == (2, 6, 5)
    kernel, bias, positions = (np.array(variable) for variable in layer.weights)  # [4, 4, 3, 5], [5], [6, 5]
    for row in range(2):
        for column in range(3):
            patch = images[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            expected = np.einsum("bhwc,hwcd->bd", patch, kernel) + bias + positions[3 * row + column]
            np.testing.assert_allclose(tokens[:, 3 * row + column], expected, rtol=1e-4, atol=1e-5)


def test_it_is_made_again_from_its_configuration() -> None:
    layer = PatchEmbedding(hidden_dim=5, patch_size=4, dtype="mixed_bfloat16", name="embedding")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert again(np.zeros((1, 8, 8, 3), np.float32)).dtype == "bfloat16"
