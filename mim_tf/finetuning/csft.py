"""C-SFT, content-interest-aware supervised fine-tuning: what is bought after a query is drawn towards it."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.contrastive import gather, info_nce, own_rows
from mim_tf.data.augmentation import image_augmenter
from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder

_IMAGES = ("query_image", "image", "negative_image")


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
        self._augment = image_augmenter(items.vision.image_size, "mild")
        self.built = True

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A pair's record, its three images as pixels."""
        decode = self.items.vision.decode
        return record | {name: tf.cast(decode(record[name]), tf.uint8) for name in _IMAGES}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch for `losses_of` from one of examples, every image a random view."""
        tokenize = self.items.text.tokenize
        views = self._augment(tf.concat([examples[name] for name in _IMAGES], axis=0), seed)
        return {
            **dict(zip(_IMAGES, tf.split(views, len(_IMAGES)), strict=True)),
            "token_ids": tokenize(examples["title"]),
            "negative_token_ids": tokenize(examples["negative_title"]),
            "query_item": _number(examples["query_item_id"]),
            "item": _number(examples["item_id"]),
            "negative_item": _number(examples["negative_item_id"]),
        }

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """The loss and what to watch beside it, scalars.

        Args:
            batch: `query_image`, `image`, `negative_image` `[batch, size, size, 3]` uint8; `token_ids` and
                `negative_token_ids` `[batch, length]` int32; `query_item`, `item`, `negative_item` `[batch]` int64.
            training: as in Keras.
        """
        return self.contrast(self.embed(batch, training), batch)

    def embed(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """The query and image, title and fusion of both items, `[batch, 7, dim]`."""
        # One pass through each encoder: several smaller ones leave cores idle.
        pixels = tf.cast(tf.concat([batch[name] for name in _IMAGES], axis=0), tf.float32)
        queries, *images = tf.split(self.items.vision(pixels, training=training), len(_IMAGES))
        token_ids = tf.concat([batch["token_ids"], batch["negative_token_ids"]], axis=0)
        texts = self.items.text(token_ids, training=training)
        candidates = self.items.fuse(tf.concat(images, axis=0), texts)
        return tf.stack([queries, *(half for rows in candidates for half in tf.split(rows, 2))], axis=1)

    def contrast(self, embeddings: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The loss over this replica's queries and all replicas' candidates."""
        gathered = tf.unstack(gather(embeddings), axis=1)[1:]
        pairs = zip(gathered[::2], gathered[1::2], strict=True)
        candidates = ItemEmbeddings(*(tf.concat(pair, axis=0) for pair in pairs))
        items = tf.concat([gather(batch["item"]), gather(batch["negative_item"])], axis=0)
        queries = embeddings[:, 0]
        return multi_level_loss(
            queries,
            candidates,
            items,
            batch["query_item"],
            own_rows(tf.shape(queries)[0]),
            temperature=self.temperature,
            alpha=self.alpha,
            beta=self.beta,
        )


def _number(item_ids: tf.Tensor) -> tf.Tensor:
    """Ids as int64, equal where they are equal: replicas do not exchange strings."""
    return tf.strings.to_hash_bucket_fast(item_ids, 2**62) if item_ids.dtype == tf.string else item_ids


def multi_level_loss(
    queries: tf.Tensor,
    candidates: ItemEmbeddings,
    items: tf.Tensor,
    query_items: tf.Tensor,
    positives: tf.Tensor,
    *,
    temperature: float,
    alpha: float,
    beta: float,
) -> dict[str, tf.Tensor]:
    """`L_C-SFT = L_q2item + alpha L_q2txt + beta L_q2img`, each InfoNCE over the same candidates.

    No negatives of a query are other rows of its positive's item and, where an item's picture stands for the query,
    rows of that item.

    Args:
        queries: `[batch, dim]`.
        candidates: embeddings `[candidates, dim]`, positives and hard negatives.
        items: `[candidates]` ids of the candidates, any comparable dtype.
        query_items: `[batch]` ids of the items whose pictures the queries are; -1 or "" for a shopper's own photo.
        positives: `[batch]` int, each query's positive as an index into the candidates.
        temperature: of the softmax.
        alpha: weight of the query-to-title loss.
        beta: weight of the query-to-image loss.

    Returns:
        `loss`, its three parts, and the share of queries whose positive came first among the fused embeddings.

    Reference: MIM, equations (5) and (6).
    """
    own_items = tf.gather(items, positives)
    no_negative = (own_items[:, tf.newaxis] == items) | (query_items[:, tf.newaxis] == items)  # [batch, candidates]
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
