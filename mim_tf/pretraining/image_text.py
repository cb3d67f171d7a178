"""DMA, different modal alignment: image-text contrastive pre-training."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from mim_tf.contrastive import alignment, gather, info_nce, own_rows, pair_sigmoid, uniformity
from mim_tf.data.augmentation import image_augmenter
from mim_tf.encoders import TextEncoder, VisionEncoder

# What CLIP's and SigLIP's authors use.
COLDEST = 0.01
_SIGMOID_BIAS = -10.0


class ImageText(keras.Model):
    """Both encoders under a symmetric contrastive loss with a learnt temperature.

    `softmax`: InfoNCE from image to title and from title to image, averaged (CLIP). `sigmoid`: each image and title of
    the batch a yes-or-no question of its own (SigLIP), with a learnt bias `b` beside the temperature.

    The logarithm of `1 / T` is what learns; `T` never falls below 0.01, or single pairs would take over the loss.
    Negatives are the rows of all replicas. Rows whose titles are equal are not each other's negatives: the model could
    only tell them apart by chance.

    Args:
        vision: F_V.
        text: F_L.
        temperature: `T` at the start.
        loss: softmax or sigmoid.

    Raises:
        ValueError: another loss.

    Reference: MIM, section 3.2; Radford et al., CLIP (arXiv 2103.00020); Zhai et al., Sigmoid Loss for Language Image
    Pre-Training (arXiv 2303.15343).
    """

    def __init__(self, vision: VisionEncoder, text: TextEncoder, *, temperature: float = 0.07, loss: str = "softmax"):
        super().__init__(name="image_text")
        if loss not in ("softmax", "sigmoid"):
            raise ValueError(f"`loss` must be softmax or sigmoid. Received: {loss!r}.")
        self.vision = vision
        self.text = text
        self.loss_name = loss
        self.log_scale = self._scalar("log_scale", -math.log(temperature), constraint=_no_colder)
        self.bias = self._scalar("bias", _SIGMOID_BIAS) if loss == "sigmoid" else None
        self._augment = image_augmenter(vision.image_size, "mild")
        self.built = True

    def _scalar(self, name: str, value: float, **options: Any) -> keras.Variable:
        return self.add_weight(name=name, shape=(), initializer=keras.initializers.Constant(value), **options)

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One item's pixels and title."""
        return {"image": tf.cast(self.vision.decode(record["image"]), tf.uint8), "title": record["title"]}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """`image` `[batch, size, size, 3]` uint8, a random view; `token_ids` `[batch, length]`; `title` `[batch]`."""
        return self.tokenize(examples) | {"image": self._augment(examples["image"], seed)}

    def tokenize(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A batch as `assemble` makes it, its images as they are; titles as int64 that are equal when they are."""
        titles = examples["title"]
        return {
            "image": examples["image"],
            "token_ids": self.text.tokenize(titles),
            "title": tf.strings.to_hash_bucket_fast(titles, 2**62),
        }

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """The loss and what to watch beside it."""
        return self.contrast(self.embed(batch, training), batch)

    def embed(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Images and titles, `[batch, 2, dim]`."""
        images = self.vision(tf.cast(batch["image"], tf.float32), training=training)
        return tf.stack([images, self.text(batch["token_ids"], training=training)], axis=1)

    def contrast(self, embeddings: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`loss`, `temperature`, alignment and uniformity, and per direction the share of rows that found theirs first.

        Args:
            embeddings: `[batch, 2, dim]` of this replica.
            batch: of this replica; of it only `title` counts.
        """
        images, texts = tf.unstack(embeddings, axis=1)
        all_images, all_texts = tf.unstack(gather(embeddings), axis=1)
        positives = own_rows(tf.shape(images)[0])
        same_title = batch["title"][:, tf.newaxis] == gather(batch["title"])  # [batch, replicas * batch]
        scale = tf.exp(self.log_scale.value)
        contrast = {"temperature": 1 / scale, "excluded": same_title}
        image_losses, image_first, _ = info_nce(images, all_texts, positives, **contrast)
        text_losses, text_first, _ = info_nce(texts, all_images, positives, **contrast)
        if self.bias is None:
            loss = tf.reduce_mean(image_losses + text_losses) / 2
        else:
            loss = tf.reduce_mean(pair_sigmoid(images, all_texts, positives, bias=self.bias.value, **contrast))
        return {
            "loss": loss,
            "temperature": 1 / scale,
            "alignment": alignment(images, texts),
            "image_uniformity": uniformity(images),
            "text_uniformity": uniformity(texts),
            "image_to_text_accuracy": tf.reduce_mean(image_first),
            "text_to_image_accuracy": tf.reduce_mean(text_first),
        }


def _no_colder(log_scale: tf.Tensor) -> tf.Tensor:
    return tf.minimum(log_scale, -math.log(COLDEST))
