"""C-SFT, content-interest-aware supervised fine-tuning: what is bought after a query is drawn towards it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import keras
import tensorflow as tf

from mim_tf.data.augmentation import Strength, image_augmenter
from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder
from mim_tf.finetuning.multi_level import MultiLevel
from mim_tf.finetuning.queue_drift import QueueDrift
from mim_tf.finetuning.slow_weights import SlowWeights

_LEVELS = len(ItemEmbeddings._fields)
Negatives = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]


class PairLoss(Protocol):
    """What queries and candidates are held to, a Keras layer.

    Attributes:
        levels: the levels of the candidates that it takes.
        candidates_per_pair: 1, the chosen item alone, or 2, with its hard negative.
    """

    levels: MultiLevel
    candidates_per_pair: int

    def __call__(
        self, queries: tf.Tensor, candidates: tf.Tensor, batch: dict[str, tf.Tensor], **how: Any
    ) -> dict[str, tf.Tensor]:
        """Scalars, `loss` among them."""
        ...


class CsftModel(keras.Model):
    """An item encoder under a loss over interest pairs `<q, i>` and hard negatives `i-`.

    Args:
        items: the encoder to be tuned; its F_V also embeds the queries.
        loss: of embedded pairs.
        negatives: draws each pair's hard negative: of `item_row` and `chosen_rows` `[batch]` and a seed int32 `[2]`.
        augmentation: of all images.
        slow: embed what enters the loss's queue; None leaves that to the weights in training.
        drift: watches how the queue ages.

    Reference: MIM, section 3.3.
    """

    def __init__(
        self,
        items: ItemEncoder,
        loss: PairLoss,
        negatives: Negatives,
        *,
        augmentation: Strength = "mild",
        slow: SlowWeights | None = None,
        drift: QueueDrift | None = None,
    ):
        super().__init__(name="csft_model")
        self.items = items
        self.pair_loss = loss
        self.slow = slow
        self.drift = drift
        self._negatives = negatives
        self._augment = image_augmenter(items.vision.image_size, augmentation)
        self.built = True

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A pair's record, its two images as pixels."""
        return record | {name: self._pixels(record[name]) for name in ("query_image", "image")}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch for `losses_of` from one of examples: hard negatives drawn, every image a random view."""
        draw_seed, view_seed = tf.unstack(tf.random.split(seed, 2))
        drawn = self._negatives(examples["item_row"], examples["chosen_rows"], draw_seed)
        photos, titles = [examples["query_image"], examples["image"]], [examples["title"]]
        item_ids = [examples["item_id"]]
        if self.pair_loss.candidates_per_pair == 2:
            photos.append(tf.map_fn(self._pixels, drawn["negative_image"], fn_output_signature=tf.uint8))
            titles.append(drawn["negative_title"])
            item_ids.append(drawn["negative_item_id"])
        views = self._augment(tf.concat(photos, axis=0), view_seed)
        return {
            "images": tf.stack(tf.split(views, len(photos)), axis=1),
            "token_ids": tf.stack([self.items.text.tokenize(title) for title in titles], axis=1),
            "query_item": _number(examples["query_item_id"]),
            "items": tf.stack([_number(ids) for ids in item_ids], axis=1),
            "category": drawn["category"],
            "fallback": tf.cast(drawn["negative_fallback"], tf.float32),
        }

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """The loss and what to watch beside it, scalars.

        Args:
            batch: of C candidates per pair: `images` `[batch, 1 + C, size, size, 3]` uint8, the query first, then the
                chosen item, then its hard negative; `token_ids` `[batch, C, length]` int32; `items` `[batch, C]` and
                `query_item`, `category` `[batch]` int64; `fallback` `[batch]` float32, 1 where the hard negative is of
                another category.
            training: as in Keras; what is remembered from batch to batch changes in training alone.
        """
        return self.contrast(self.embed(batch, training), batch, training)

    def embed(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        """The query, then the image, title and fusion of each candidate, `[batch, 1 + 3 C, dim]`.

        With slow weights the candidates come once more, as these see them, and let no gradient through.
        """
        embedded = self._embed(batch, training)
        if not (self.slow and training):
            return embedded
        with self.slow.scope():
            # The queries too: batch normalisation is to see the same batch.
            slowly = self._embed(batch, training)
        return tf.concat([embedded, tf.stop_gradient(slowly[:, 1:])], axis=1)

    def _embed(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        # One pass through each encoder: several smaller ones leave cores idle.
        pixels = tf.cast(batch["images"], tf.float32)
        photos = _each(lambda rows: self.items.vision(rows, training=training), pixels)
        titles = _each(lambda rows: self.items.text(rows, training=training), batch["token_ids"])
        candidates = tf.stack(_each(self.items.fuse, photos[:, 1:], titles), axis=2)  # [batch, C, 3, dim]
        in_one_row = tf.reshape(candidates, [-1, candidates.shape[1] * _LEVELS, candidates.shape[-1]])
        return tf.concat([photos[:, :1], in_one_row], axis=1)

    def contrast(
        self, embeddings: tf.Tensor, batch: dict[str, tf.Tensor], training: bool = True
    ) -> dict[str, tf.Tensor]:
        """The loss of a whole batch; after it, what is remembered for the next ones."""
        count, dim = batch["items"].shape[1], embeddings.shape[-1]
        of_items = tf.reshape(embeddings[:, 1:], [-1, (embeddings.shape[1] - 1) // _LEVELS, _LEVELS, dim])
        of_items = self.pair_loss.levels.of(of_items)
        remembered = {"remembered": of_items[:, count:]} if self.slow and training else {}
        scalars = self.pair_loss(embeddings[:, 0], of_items[:, :count], batch, training=training, **remembered)
        if self.slow and training:
            self.slow.follow()
        if self.drift and training:
            scalars |= self.drift.observe()
        if count == 2:
            scalars["negative_fallback_share"] = tf.reduce_mean(batch["fallback"])
        return scalars

    def _pixels(self, image: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.items.vision.decode(image), tf.uint8)


def _number(item_ids: tf.Tensor) -> tf.Tensor:
    """Ids as int64, equal where they are equal: replicas do not exchange strings."""
    return tf.strings.to_hash_bucket_fast(item_ids, 2**62) if item_ids.dtype == tf.string else item_ids


def _each(function: Callable[..., Any], *inputs: tf.Tensor) -> Any:
    """A function of `[rows, ...]`, of inputs `[batch, several, ...]`, to `[batch, several, ...]` again."""
    several = inputs[0].shape[1]
    outputs = function(*(tf.reshape(rows, [-1, *rows.shape[2:]]) for rows in inputs))
    return tf.nest.map_structure(lambda rows: tf.reshape(rows, [-1, several, *rows.shape[1:]]), outputs)
