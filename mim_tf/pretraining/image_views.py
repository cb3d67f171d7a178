"""DDA of a convolutional vision encoder: two views of one of the shop's images recognised among those of others."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.contrastive import alignment, gather, info_nce, own_rows, uniformity
from mim_tf.data.augmentation import image_augmenter
from mim_tf.encoders import VISION_FAMILIES, VisionEncoder

_DIM = 128  # of the embeddings that are contrasted, as in SimCLR


class ImageViews(keras.Model):
    """SimCLR: each of two random views of an image is to find the other among the views of all images.

    ```
    z = W_2 relu(W_1 F_V(view) + b_1) + b_2
    L = mean over views i of -log( exp(sim(z_i, z_j) / T) / sum_{k != i} exp(sim(z_i, z_k) / T) )
    ```

    `j` is the other view of `i`'s image; `k` runs over both views of all images of all replicas, so that `N` images on
    each of `P` replicas give `2NP - 2` negatives. `W` and `b` are float32, start afresh and are dropped afterwards:
    they lose what views differ in, such as colour, so that `F_V` need not. The encoder's projection is no variable of
    this model.

    Args:
        vision: F_V, convolutional.
        temperature: `T` of the softmax, > 0.

    Raises:
        ValueError: a transformer; a temperature that is not positive.

    Reference: MIM, section 3.2 (DDA); Chen et al., SimCLR (arXiv 2002.05709), equation (1), NT-Xent.
    """

    def __init__(self, vision: VisionEncoder, *, temperature: float = 0.2):
        if not VISION_FAMILIES[vision.family].convolutional:
            raise ValueError(
                f"`vision` must be convolutional; train {vision.family} with `masked_image` instead. "
                f"Received: {vision.family}."
            )
        if temperature <= 0:
            raise ValueError(f"`temperature` must be positive. Received: {temperature}.")
        super().__init__(name="image_views")
        self.pixels = vision.pixels
        self.image_size = vision.image_size
        self.temperature = temperature
        self.backbone = vision.backbone
        hidden = vision.backbone.output["pooled"].shape[-1]
        self.hidden_layer = keras.layers.Dense(hidden, activation="relu", name="hidden_layer", dtype="float32")
        self.hidden_layer.build((None, hidden))
        self.output_layer = keras.layers.Dense(_DIM, name="output_layer", dtype="float32")
        self.output_layer.build((None, hidden))
        self._augment = image_augmenter(self.image_size, "strong")
        self.built = True

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """An item record to its `image` `[size, size, 3]` uint8."""
        return {"image": tf.cast(self.pixels.decode(record["image"], self.image_size), tf.uint8)}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """`view_0` and `view_1`, both `[batch, size, size, 3]` uint8.

        Args:
            examples: `image` `[batch, size, size, 3]` uint8.
            seed: `[2]` int32, of the views.
        """
        seeds = tf.unstack(tf.random.split(seed))
        return {f"view_{number}": self._augment(examples["image"], own) for number, own in enumerate(seeds)}

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """`contrast` of what `assemble` returns."""
        return self.contrast(self.embed(batch, training), batch)

    def embed(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """`z` of both views, `[batch, 2, dim]` float32."""
        # Both at once, for batch normalisation not to tell one view from the other.
        views = tf.cast(tf.concat([batch["view_0"], batch["view_1"]], axis=0), tf.float32)
        pooled = self.backbone(self.pixels.normalise(views), training=training)["pooled"]
        embeddings = self.output_layer(self.hidden_layer(tf.cast(pooled, tf.float32)))
        return tf.stack(tf.split(embeddings, 2), axis=1)

    def contrast(self, embeddings: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`loss`, alignment and uniformity, and the share of views that found the other first, float32 scalars.

        Args:
            embeddings: `[batch, 2, dim]` of this replica.
            batch: has no part in it.
        """
        views = tf.reshape(embeddings, [-1, embeddings.shape[-1]])  # [2 * batch, dim], an image's two side by side
        candidates = gather(views)
        own = own_rows(tf.shape(views)[0])
        losses, first, _ = info_nce(
            views,
            candidates,
            tf.bitwise.bitwise_xor(own, 1),  # of 2n and 2n + 1 the other
            temperature=self.temperature,
            excluded=own[:, tf.newaxis] == tf.range(tf.shape(candidates)[0]),
        )
        return {
            "loss": tf.reduce_mean(losses),
            "alignment": alignment(embeddings[:, 0], embeddings[:, 1]),
            "uniformity": uniformity(embeddings[:, 0]),
            "view_accuracy": tf.reduce_mean(first),
        }
