"""Random views: other pixels of the same product, in the range and size that the encoder takes."""

import numpy as np
import tensorflow as tf

from mim_tf.data.augmentation import image_augmenter

SIZE = 32


def test_a_plain_image_keeps_its_colour() -> None:
    red = np.broadcast_to(np.array([200.0, 40.0, 40.0], np.float32), (16, SIZE, SIZE, 3))
    views = image_augmenter(SIZE, seed=0)(tf.constant(red)).numpy()
    assert views.shape == red.shape
    # Cropping and flipping one colour changes nothing; brightness moves it by at most a tenth of 255.
    assert np.abs(views - red).max() < 26


def test_views_differ_and_stay_within_the_range() -> None:
    images = np.random.default_rng(0).uniform(0, 255, (8, SIZE, SIZE, 3)).astype(np.float32)
    augment = image_augmenter(SIZE, seed=0)
    first, second = augment(tf.constant(images)).numpy(), augment(tf.constant(images)).numpy()
    assert np.abs(first - images).mean() > 1
    assert np.abs(first - second).mean() > 1
    assert first.min() >= 0
    assert first.max() <= 255


def test_about_half_of_the_views_are_mirrored() -> None:
    # Dark on the left, bright on the right: no crop or brightness can turn that round.
    ramp = np.broadcast_to(np.linspace(50, 200, SIZE, dtype=np.float32)[np.newaxis, :, np.newaxis], (64, SIZE, SIZE, 3))
    views = image_augmenter(SIZE, seed=0)(tf.constant(ramp)).numpy()
    mirrored = views[:, :, : SIZE // 2].mean(axis=(1, 2, 3)) > views[:, :, SIZE // 2 :].mean(axis=(1, 2, 3))
    assert 0.2 < mirrored.mean() < 0.8
