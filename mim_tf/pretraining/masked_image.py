"""DDA of a transformer's vision encoder: masked squares of the shop's images predicted from what is around them."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.contrastive import replica_mean
from mim_tf.data.augmentation import image_augmenter
from mim_tf.encoders import VISION_FAMILIES, VisionEncoder
from mim_tf.encoders.pixels import Pixels

# SimMIM masks squares of 32 of 224 pixels: smaller ones are filled in from their neighbours, without understanding.
_SQUARES_PER_SIDE = 7


class MaskedImage(keras.Model):
    """SimMIM: a random share of an image's squares is masked, and a linear layer predicts their pixels.

    ```
    L = mean over masked pixels of |x - W F_V(x with p in place of masked patches) - b|
    ```

    `x` are normalised pixels, `W, b` lead from each token of `F_V`'s sequence to the pixels below it.

    SimMIM puts a learned vector in place of a masked patch's embedding. Here it is a learned patch `p` in place of its
    pixels. Families of transformers begin with a linear embedding `E` of patches that do not overlap, so every masked
    patch becomes the same learned vector `E p + e` (Swin's goes on to be normalised), and no backbone has to know.

    `W, b` and `p` start afresh and are dropped afterwards. The encoder's projection, and what only its pooling needs,
    are no variables of this model.

    Args:
        vision: F_V, a transformer.
        mask_share: of the squares that are masked, in (0, 1).
        mask_size: both sides of a square, pixels; a multiple of the stride between output tokens that divides the
            image size. None takes the one nearest to a seventh of the image size, as SimMIM does.

    Raises:
        ValueError: a convolutional family; an image size that is no multiple of the stride; a mask size that does not
            fit; a share that leaves nothing masked or nothing visible.

    Reference: MIM, section 3.2 (DDA); Xie et al., SimMIM (arXiv 2111.09886), section 3.
    """

    def __init__(self, vision: VisionEncoder, *, mask_share: float = 0.6, mask_size: int | None = None):
        if VISION_FAMILIES[vision.family].convolutional:
            raise ValueError(
                f"`vision` must be a transformer; train {vision.family} with `image_views` instead. "
                f"Received: {vision.family}."
            )
        super().__init__(name="masked_image")
        self.pixels = vision.pixels
        self.image_size = vision.image_size
        self.patch_size = vision.arguments["patch_size"]
        self.stride = _stride(vision)
        self.mask_size = _mask_size(self.image_size, self.stride) if mask_size is None else mask_size
        _check_mask_size(self.mask_size, self.image_size, self.stride)
        self.squares = self.image_size // self.mask_size
        self.masked = round(mask_share * self.squares**2)
        if not 0 < self.masked < self.squares**2:
            raise ValueError(
                f"`mask_share` must leave some of an image's {self.squares**2} squares masked and some visible. "
                f"Received: {mask_share}."
            )
        self.tokens = keras.Model(vision.backbone.input, vision.backbone.output["sequence"], name="tokens")
        self.head = keras.layers.Dense(self.stride**2 * 3, name="head", dtype="float32")
        self.head.build(self.tokens.output_shape)
        self.mask_patch = self.add_weight(
            shape=(self.patch_size, self.patch_size, 3),
            initializer=keras.initializers.RandomNormal(stddev=0.02),  # as SimMIM's mask token
            dtype="float32",
            name="mask_patch",
        )
        self._augment = image_augmenter(self.image_size, "mild")
        self.built = True

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """An item record to its `image` `[size, size, 3]` uint8."""
        return {"image": tf.cast(self.pixels.decode(record["image"], self.image_size), tf.uint8)}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """`image` `[batch, size, size, 3]` uint8, a random view; `mask` `[batch, squares, squares]` bool.

        Args:
            examples: `image` `[batch, size, size, 3]` uint8.
            seed: `[2]` int32, of views and masks.
        """
        view_seed, mask_seed = tf.unstack(tf.random.split(seed))
        noise = tf.random.stateless_uniform([tf.shape(examples["image"])[0], self.squares**2], mask_seed)
        # Ranks, not the random numbers themselves: two of those may be equal.
        mask = tf.argsort(tf.argsort(noise)) < self.masked
        return {
            "image": self._augment(examples["image"], view_seed),
            "mask": tf.reshape(mask, [-1, self.squares, self.squares]),
        }

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """Of what `assemble` returns, float32 scalars.

        Returns:
            `loss`, the mean absolute error per masked value, in units of normalised pixels; `mean_colour_loss`, that of
            filling in the mean colour of an image's visible pixels, which the loss should soon fall below.
        """
        images, mask = self._images_and_mask(batch)
        errors = tf.abs(images - self._predict(self._hide(images, mask), training))
        visible = tf.cast(~mask, tf.float32)
        sums = [tf.reduce_sum(values, axis=(1, 2), keepdims=True) for values in (images * visible, visible)]
        mean_colour_errors = tf.abs(images - sums[0] / sums[1])
        weights = tf.broadcast_to(tf.cast(mask, tf.float32), tf.shape(images))
        return {
            "loss": replica_mean(errors, weights),
            "mean_colour_loss": replica_mean(mean_colour_errors, weights),
        }

    def reconstruct(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Pictures of what `assemble` returns, each `[batch, size, size, 3]` uint8.

        Returns:
            `original`; `masked`, what the encoder sees; `prediction`, with the predicted pixels in the masked places.
        """
        images, mask = self._images_and_mask(batch)
        seen = self._hide(images, mask)
        prediction = tf.where(mask, self._predict(seen, training=False), images)
        return {
            "original": batch["image"],
            "masked": _picture(seen, self.pixels),
            "prediction": _picture(prediction, self.pixels),
        }

    def _images_and_mask(self, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Normalised images `[batch, size, size, 3]` and the mask of their pixels, `[batch, size, size, 1]`."""
        mask = tf.repeat(tf.repeat(batch["mask"], self.mask_size, axis=1), self.mask_size, axis=2)
        return self.pixels.normalise(tf.cast(batch["image"], tf.float32)), mask[..., tf.newaxis]

    def _hide(self, images: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        patches = self.image_size // self.patch_size
        return tf.where(mask, tf.tile(self.mask_patch.value, [patches, patches, 1]), images)

    def _predict(self, seen: tf.Tensor, training: bool) -> tf.Tensor:
        """Normalised pixels `[batch, size, size, 3]`."""
        side = self.image_size // self.stride
        sequence = tf.cast(self.tokens(seen, training=training), tf.float32)
        places = sequence[:, -(side**2) :]  # class and register tokens come first
        pixels = tf.reshape(self.head(places), [-1, side, side, self.head.units])
        return tf.nn.depth_to_space(pixels, self.stride)


def _stride(vision: VisionEncoder) -> int:
    """Pixels between output tokens: the patch size, doubled before each of Swin's further stages."""
    further_stages = len(vision.arguments.get("depths", [1])) - 1
    stride = vision.arguments["patch_size"] * 2**further_stages
    if vision.image_size % stride:
        raise ValueError(
            f"`image_size` must be a multiple of {stride}, the pixels between output tokens. "
            f"Received: {vision.image_size}."
        )
    return stride


def _mask_size(image_size: int, stride: int) -> int:
    sizes = [size for size in range(stride, image_size + 1, stride) if image_size % size == 0]
    return min(sizes, key=lambda size: abs(size - image_size / _SQUARES_PER_SIDE))


def _check_mask_size(mask_size: int, image_size: int, stride: int) -> None:
    if mask_size <= 0 or mask_size % stride or image_size % mask_size:
        raise ValueError(
            f"`mask_size` must be a multiple of {stride}, the pixels between output tokens, and divide the image size "
            f"{image_size}. Received: {mask_size}."
        )


def _picture(normalised: tf.Tensor, pixels: Pixels) -> tf.Tensor:
    """The inverse of `Pixels.normalise`, uint8."""
    return tf.saturate_cast(tf.round((normalised * pixels.std + pixels.mean) * 255), tf.uint8)
