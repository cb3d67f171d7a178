"""Resized position embeddings against Pillow, and against numbers worked out by hand."""

import keras
import numpy as np
import pytest
from PIL import Image

from mim_tf.encoders.checkpoints import copy_weights, resize_grid


def pillows(embeddings: np.ndarray, side: int) -> np.ndarray:
    """`[places, dim]` resized by Pillow, whose mode F keeps floats: every dimension as one image."""
    old = int(len(embeddings) ** 0.5)
    images = embeddings.astype(np.float32).reshape(old, old, -1)
    resized = [
        np.asarray(Image.fromarray(images[:, :, channel]).resize((side, side), Image.Resampling.BICUBIC))
        for channel in range(images.shape[-1])
    ]
    return np.stack(resized, axis=-1).reshape(side * side, -1)


@pytest.mark.parametrize(("old", "new"), [(14, 7), (7, 14), (14, 10), (5, 8), (16, 3), (2, 5), (3, 1), (1, 4)])
def test_antialiased_resizing_is_pillows(old: int, new: int) -> None:
    embeddings = np.random.normal(size=(old * old, 3)).astype(np.float32)
    resized = resize_grid(embeddings, new * new, leading=0, antialias=True)
    np.testing.assert_allclose(resized, pillows(embeddings, new), rtol=1e-5, atol=1e-5)


def test_two_places_become_four_without_antialiasing() -> None:
    # Along one axis new places lie at -1/4, 1/4, 3/4, 5/4 of the old grid, whose border values repeat outside. With
    # a = -3/4 the kernel is 225/256 at 1/4, 67/256 at 3/4, -27/256 at 5/4 and -9/256 at 7/4. The first new place:
    # 3/4 from old place -1 (= 0), 1/4 from 0, 5/4 from 1, 7/4 from -2 (= 0). The second is 1/4 from 0, 3/4 from 1,
    # 5/4 from -1 (= 0) and 7/4 from 2 (= 1).
    first = np.array([67 + 225 - 9, -27]) / 256  # what old places 0 and 1 add
    second = np.array([225 - 27, 67 - 9]) / 256
    weights = np.stack([first, second, second[::-1], first[::-1]])
    grid = np.array([[1.0, 2.0], [30.0, 50.0]])
    resized = resize_grid(grid.reshape(4, 1), 16, leading=0, antialias=False)
    np.testing.assert_allclose(resized[:, 0].reshape(4, 4), weights @ grid @ weights.T, rtol=1e-6)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 9])
def test_a_constant_stays_the_same(antialias: bool, side: int) -> None:
    resized = resize_grid(np.full((1, 9, 2), 0.3, np.float32), side * side, leading=0, antialias=antialias)
    assert resized.shape == (1, side * side, 2)
    np.testing.assert_allclose(resized, 0.3, rtol=1e-6)


@pytest.mark.parametrize("antialias", [True, False])
def test_the_same_size_is_left_as_it_is(antialias: bool) -> None:
    embeddings = np.random.normal(size=(1, 2 + 9, 4)).astype(np.float32)
    np.testing.assert_array_equal(resize_grid(embeddings, 9, leading=2, antialias=antialias), embeddings)
    assert resize_grid(embeddings[:, :2], 0, leading=2).shape == (1, 2, 4)


def test_leading_embeddings_are_no_part_of_the_grid() -> None:
    embeddings = np.random.normal(size=(1, 2 + 4, 3)).astype(np.float32)
    resized = resize_grid(embeddings, 9, leading=2)
    assert resized.shape == (1, 11, 3)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized[:, :2], embeddings[:, :2])
    np.testing.assert_array_equal(resized[:, 2:], resize_grid(embeddings[:, 2:], 9, leading=0))


@pytest.mark.parametrize(("places", "wanted", "leading"), [(5, 9, 0), (4, 6, 0), (5, 9, 2), (1, 4, 1)])
def test_a_grid_that_is_not_square_is_refused(places: int, wanted: int, leading: int) -> None:
    message = rf"must lie on a square grid\. Received: {places - leading} places for {wanted}\."
    with pytest.raises(ValueError, match=message):
        resize_grid(np.zeros((places, 2), np.float32), wanted, leading=leading)


class Positions(keras.layers.Layer):
    """Adds position embeddings, one leading and `places` on a grid."""

    def __init__(self, places: int):
        super().__init__(name="positions")
        self.embeddings = self.add_weight(shape=(1, 1 + places, 3), initializer="random_normal", name="embeddings")

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Their sum for each row."""
        return inputs + keras.ops.sum(self.embeddings)


def model_with(places: int) -> keras.Model:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2, name="dense")(Positions(places)(inputs)))


def test_weights_are_copied_to_a_model_of_another_image_size() -> None:
    small, large = model_with(4), model_with(16)
    copy_weights(small, large, {"positions/embeddings": 1})
    expected = resize_grid(small.get_layer("positions").embeddings.numpy(), 16, leading=1)
    np.testing.assert_array_equal(large.get_layer("positions").embeddings, expected)
    np.testing.assert_array_equal(large.get_layer("dense").kernel, small.get_layer("dense").kernel)
