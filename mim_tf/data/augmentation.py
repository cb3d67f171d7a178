"""Random views of item images, the same for the same seed.

keras-cv's layers draw from generators whose state no checkpoint keeps: a training that goes on after it was interrupted
would see other views than one that was not. What a layer does with the numbers drawn is a method of its own,
`augment_images`. Only that half is used here; the numbers come from `tf.random.stateless_uniform`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import tensorflow as tf
from keras_cv import layers

Strength = Literal["mild", "strong"]
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (images, seed) -> images

_RANGE = (0, 255)


def image_augmenter(image_size: int, strength: Strength = "mild") -> Change:
    """A function `(images, seed) -> images` that changes each image of a batch at random.

    `mild` is for images that must still show what their title says: mirrored, cropped to at least 60% of the area,
    since what matters about a product is often at its edge, and a little brighter or darker.

    `strong` is for two views of one image that are to be recognised as such, as in SimCLR: cropped to at least 20% of
    the area, with other brightness, contrast and saturation, and one in ten grey. It leaves hue nearly as it is, and
    fewer images turn grey than in SimCLR: what colours are changed by, embeddings learn to ignore, and shoppers search
    by colour. SimCLR's blur is left out, as its authors do with small images.

    Args:
        image_size: both sides of the images, pixels.
        strength: `mild` or `strong`.

    Returns:
        A function of images `[batch, image_size, image_size, 3]` uint8 and a seed `[2]` int32 to images of the same
        shape and dtype. The same seed gives the same bytes.

    Raises:
        ValueError: an unknown strength.

    Reference: Chen et al., SimCLR (arXiv 2002.05709), appendix A; B.9 leaves out the blur.
    """
    if strength not in _CHANGES:
        raise ValueError(f"`strength` must be one of {', '.join(sorted(_CHANGES))}. Received: {strength!r}.")
    changes = _CHANGES[strength](image_size)
    view = tf.TensorSpec([image_size, image_size, 3], tf.uint8)

    def one(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        images = image[tf.newaxis]
        for change, own_seed in zip(changes, tf.unstack(tf.random.split(seed, len(changes))), strict=True):
            images = change(images, own_seed)
        return tf.saturate_cast(tf.round(images[0]), tf.uint8)

    @tf.function
    def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        # One at a time: of 4,096 images of 64 pixels, every float32 copy would be 200 MB.
        rows = tf.shape(images)[0]
        seeds = tf.random.split(seed, rows)
        return tf.map_fn(lambda row: one(images[row], seeds[row]), tf.range(rows), fn_output_signature=view)

    return augment


def _mirrored_crop(image_size: int, area: tuple[float, float], aspect: tuple[float, float]) -> Change:
    layer = layers.RandomCropAndResize((image_size, image_size), area, aspect)

    def change(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        boxes = _boxes(tf.shape(images)[0], seed, area, aspect)
        return layer.augment_image(images[0], transformation=boxes)[tf.newaxis]

    return change


def _boxes(batch: tf.Tensor, seed: tf.Tensor, area: tuple[float, float], aspect: tuple[float, float]) -> tf.Tensor:
    """Boxes `[batch, 4]` of top, left, bottom and right as fractions of the sides; `aspect` is width by height.

    Half of them have left and right exchanged, which mirrors what is cut out at no cost.
    """
    seeds = tf.unstack(tf.random.split(seed, 5))
    areas, aspects = _uniform([batch], seeds[0], *area), _uniform([batch], seeds[1], *aspect)
    heights = tf.minimum(tf.sqrt(areas / aspects), 1.0)
    widths = tf.minimum(tf.sqrt(areas * aspects), 1.0)
    tops, lefts = _uniform([batch], seeds[2]) * (1 - heights), _uniform([batch], seeds[3]) * (1 - widths)
    rights, mirrored = lefts + widths, _uniform([batch], seeds[4]) < 0.5
    starts, ends = tf.where(mirrored, rights, lefts), tf.where(mirrored, lefts, rights)
    return tf.stack([tops, starts, tops + heights, ends], axis=1)


def _brightness(limit: float) -> Change:
    """Up to `limit` of the range is added or taken away."""
    layer = layers.RandomBrightness(limit, value_range=_RANGE)

    def change(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shifts = _uniform([tf.shape(images)[0], 1, 1, 1], seed, -255 * limit, 255 * limit)
        return layer.augment_images(images, transformations=shifts)

    return change


def _contrast(limit: float) -> Change:
    """Differences from the image's mean colour are multiplied by `1 - limit` to `1 + limit`."""
    layer = layers.RandomContrast(_RANGE, limit)

    def change(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        factors = _uniform([tf.shape(images)[0], 1, 1, 1], seed, 1 - limit, 1 + limit)
        return layer.augment_images(images, transformations=factors)

    return change


def _saturation(limit: float, grey: float) -> Change:
    """Distances from grey are multiplied by `1 - limit` to `1 + limit`, and by 0 in a share `grey` of the images."""
    layer = layers.RandomColorDegeneration(limit)

    def change(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        shape = [tf.shape(images)[0], 1, 1, 1]
        seeds = tf.unstack(tf.random.split(seed))
        shares = tf.where(_uniform(shape, seeds[0]) < grey, 1.0, _uniform(shape, seeds[1], -limit, limit))
        return layer.augment_images(images, transformations=shares)

    return change


def _hue(limit: float) -> Change:
    """Hue is turned by up to `limit` of the colour circle."""
    layer = layers.RandomHue(limit, value_range=_RANGE, dtype="float32")

    def change(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        turns = _uniform([tf.shape(images)[0]], seed, -limit, limit)
        return layer.augment_images(images, transformations=turns)

    return change


def _uniform(shape: list[int | tf.Tensor], seed: tf.Tensor, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, low, high)


def _mild(image_size: int) -> list[Change]:
    return [_mirrored_crop(image_size, area=(0.6, 1.0), aspect=(0.8, 1.25)), _brightness(0.1)]


def _strong(image_size: int) -> list[Change]:
    crop = _mirrored_crop(image_size, area=(0.2, 1.0), aspect=(3 / 4, 4 / 3))
    return [crop, _brightness(0.2), _contrast(0.4), _saturation(0.4, grey=0.1), _hue(0.02)]


_CHANGES: dict[str, Callable[[int], list[Change]]] = {"mild": _mild, "strong": _strong}
