"""Random views of item images, for contrastive training."""

from __future__ import annotations

from collections.abc import Callable

import keras_cv
import tensorflow as tf


def image_augmenter(image_size: int, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from `[batch, size, size, 3]` pixels in 0..255 to randomly flipped, cropped and tinted ones.

    The crops are mild (at least 60% of the area): what matters about a product is often at its edge. Colours are
    changed little, because shoppers search by colour.

    Args:
        image_size: both sides of the images, pixels.
        seed: of the random views.
    """
    layers = keras_cv.layers
    augmenter = layers.Augmenter(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomCropAndResize(
                target_size=(image_size, image_size),
                crop_area_factor=(0.6, 1.0),
                aspect_ratio_factor=(0.8, 1.25),
                seed=seed + 1,
            ),
            layers.RandomBrightness(0.1, value_range=(0, 255), seed=seed + 2),
        ]
    )

    def augment(images: tf.Tensor) -> tf.Tensor:
        views = tf.ensure_shape(augmenter(images), [None, image_size, image_size, 3])
        return tf.clip_by_value(views, 0.0, 255.0)

    return augment
