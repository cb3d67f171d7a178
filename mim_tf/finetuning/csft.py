"""C-SFT, content-interest-aware supervised fine-tuning: what is bought after a query is drawn towards it."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.contrastive import info_nce
from mim_tf.data.augmentation import image_augmenter
from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder


class CsftModel(keras.Model):
    """An item encoder under the C-SFT loss over triplets `<q, i, i->`.

    Args:
        items: the encoder to be tuned; its F_V also embeds the queries.
        temperature: of the softmax; 1.0 is the paper's form.
        alpha: weight of the query-to-title loss.
        beta: weight of the query-to-image loss.

    Reference: MIM, section 3.3.
    """

    def __init__(self, items: ItemEncoder, temperature: float, alpha: float, beta: float):
        super().__init__(name="csft_model")
        self.items = items
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta
        self.built = True

    def losses_of(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The loss and what to watch beside it, scalars.

        Args:
            batch: `query_image` `[batch, size, size, 3]` and `query_item` `[batch]`; `image`
                `[2 * batch, size, size, 3]`, `token_ids` `[2 * batch, length]` and `item` `[2 * batch]`, the positives
                first, then the hard negatives.
        """
        queries = tf.shape(batch["query_image"])[0]
        # One pass through F_V for queries and candidates: two smaller ones leave cores idle.
        images = self.items.vision(tf.concat([batch["query_image"], batch["image"]], axis=0), training=True)
        texts = self.items.text(batch["token_ids"], training=True)
        return multi_level_loss(
            images[:queries],
            self.items.fuse(images[queries:], texts),
            batch["item"],
            batch["query_item"],
            temperature=self.temperature,
            alpha=self.alpha,
            beta=self.beta,
        )


def multi_level_loss(
    queries: tf.Tensor,
    candidates: ItemEmbeddings,
    items: tf.Tensor,
    query_items: tf.Tensor,
    *,
    temperature: float,
    alpha: float,
    beta: float,
) -> dict[str, tf.Tensor]:
    """`L_C-SFT = L_q2item + alpha L_q2txt + beta L_q2img`, each InfoNCE over the same candidates.

    Candidate `i < batch` is query `i`'s positive; the rest are hard negatives. No negatives of a query are other
    rows of its positive's item and, where an item's picture stands for the query, rows of that item.

    Args:
        queries: `[batch, dim]`.
        candidates: embeddings `[candidates, dim]`, `candidates >= batch`.
        items: `[candidates]` ids of the candidates, any comparable dtype.
        query_items: `[batch]` ids of the items whose pictures the queries are; -1 or "" for a shopper's own photo.
        temperature: of the softmax.
        alpha: weight of the query-to-title loss.
        beta: weight of the query-to-image loss.

    Returns:
        `loss`, its three parts, and the share of queries whose positive came first among the fused embeddings.

    Reference: MIM, equations (5) and (6).
    """
    batch = tf.shape(queries)[0]
    positives = tf.range(batch)
    no_negative = (items[:batch, tf.newaxis] == items) | (query_items[:, tf.newaxis] == items)  # [batch, candidates]
    contrast = {"temperature": temperature, "excluded": no_negative}
    item_losses, first = info_nce(queries, candidates.fused, positives, **contrast)
    text_losses, _ = info_nce(queries, candidates.text, positives, **contrast)
    image_losses, _ = info_nce(queries, candidates.image, positives, **contrast)
    query_to_item, query_to_text, query_to_image = map(tf.reduce_mean, (item_losses, text_losses, image_losses))
    return {
        "loss": query_to_item + alpha * query_to_text + beta * query_to_image,
        "query_to_item_loss": query_to_item,
        "query_to_text_loss": query_to_text,
        "query_to_image_loss": query_to_image,
        "query_to_item_accuracy": tf.reduce_mean(first),
    }


def csft_batches(
    pairs: tf.data.Dataset, items: ItemEncoder, *, batch_size: int, seed: int, first_step: int = 0
) -> tf.data.Dataset:
    """Endless shuffled batches for `CsftModel` from pair records.

    Args:
        pairs: records with `query_image`, `query_item_id`, `item_id`, `image`, `title` and the latter three's
            `negative_` counterparts.
        items: decodes the images, tokenises the titles.
        batch_size: triplets per batch; a rest is not handed out, for every batch to have the same negatives.
        seed: of order and augmentation.
        first_step: batches to leave out, those that an interrupted training has seen.
    """
    augment = image_augmenter(items.vision.image_size, seed)
    decode_one = items.vision.decode

    def decode(pair: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return pair | {key: decode_one(pair[key]) for key in ("query_image", "image", "negative_image")}

    def finish(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        def both(key: str) -> tf.Tensor:
            return tf.concat([batch[key], batch[f"negative_{key}"]], axis=0)

        images = augment(tf.concat([batch["query_image"], both("image")], axis=0))
        return {
            "query_image": images[:batch_size],
            "query_item": batch["query_item_id"],
            "image": images[batch_size:],
            "token_ids": items.text.tokenize(both("title")),
            "item": both("item_id"),
        }

    return (
        pairs.shuffle(16 * batch_size, seed=seed)
        .repeat()
        .skip(first_step * batch_size)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .map(finish, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(2)
    )
