"""DMA, different modal alignment: image-text contrastive pre-training."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.contrastive import info_nce
from mim_tf.data.augmentation import image_augmenter
from mim_tf.encoders import TextEncoder, VisionEncoder


class ImageTextModel(keras.Model):
    """Both encoders under the symmetric contrastive loss of CLIP.

    Args:
        vision: F_V.
        text: F_L.
        temperature: of the softmax.

    Reference: MIM, section 3.2; Radford et al., CLIP (arXiv 2103.00020).
    """

    def __init__(self, vision: VisionEncoder, text: TextEncoder, temperature: float):
        super().__init__(name="image_text_model")
        self.vision = vision
        self.text = text
        self.temperature = temperature
        self.built = True

    def losses_of(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The loss and what to watch beside it, scalars.

        Args:
            batch: `image` `[batch, size, size, 3]` pixels, `token_ids` `[batch, length]`.
        """
        images = self.vision(batch["image"], training=True)
        texts = self.text(batch["token_ids"], training=True)
        return image_text_loss(images, texts, batch["token_ids"], temperature=self.temperature)


def image_text_loss(
    images: tf.Tensor, texts: tf.Tensor, token_ids: tf.Tensor, *, temperature: float
) -> dict[str, tf.Tensor]:
    """InfoNCE from image to title and from title to image, averaged.

    Row `i` of both is the same item. Rows whose titles are equal are not each other's negatives: the model could
    only tell them apart by chance.

    Args:
        images: `[batch, dim]`.
        texts: `[batch, dim]`.
        token_ids: `[batch, length]`, the tokenised titles.
        temperature: of the softmax.

    Returns:
        `loss`, and per direction the share of rows whose partner came first.
    """
    rows = tf.range(tf.shape(images)[0])
    same_title = tf.reduce_all(token_ids[:, tf.newaxis] == token_ids[tf.newaxis], axis=-1)  # [batch, batch]
    image_losses, image_first = info_nce(images, texts, rows, temperature=temperature, excluded=same_title)
    text_losses, text_first = info_nce(texts, images, rows, temperature=temperature, excluded=same_title)
    return {
        "loss": tf.reduce_mean(image_losses + text_losses) / 2,
        "image_to_text_accuracy": tf.reduce_mean(image_first),
        "text_to_image_accuracy": tf.reduce_mean(text_first),
    }


def image_text_batches(
    items: tf.data.Dataset,
    vision: VisionEncoder,
    text: TextEncoder,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Endless shuffled batches for `ImageTextModel` from item records.

    Args:
        items: records with `image` (encoded bytes) and `title`.
        vision: decodes the images.
        text: tokenises the titles.
        batch_size: items per batch; a rest is not handed out, for every batch to have the same negatives.
        seed: of order and augmentation.
        first_step: batches to leave out, those that an interrupted training has seen.
    """
    augment = image_augmenter(vision.image_size, seed)

    def decode(item: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"image": vision.decode(item["image"]), "title": item["title"]}

    def finish(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"image": augment(batch["image"]), "token_ids": text.tokenize(batch["title"])}

    return (
        items.shuffle(16 * batch_size, seed=seed)
        .repeat()
        .skip(first_step * batch_size)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .map(finish, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(2)
    )
