"""Content embeddings without the representation center: the encoder runs wherever they are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from mim_tf.data.items_by_id import ItemsById
from mim_tf.training.item_encoder_model import load_item_encoder_model
from mim_tf.workdir import StageFolder

_ENCODED_AT_ONCE = 256  # items; their pixels and activations are the memory that this takes


class EncodedItems(tf.Module):
    """Embeds items from their images and titles at every look-up, in the place of an `EmbeddingTable`.

    Each distinct item of a batch is read from the records and encoded once, a chunk of items after the other. For a
    gradient each chunk is encoded once more, so that the memory it takes does not grow with a batch's items.

    Args:
        represent: the finished stage, for its encoder.
        records: what `prepare` wrote.
        learning: whether gradients reach the encoder, whose variables are then this module's trainable ones.

    Raises:
        StageError: the stage left no encoder that this process can run.
        DataError: records are missing or damaged.

    Reference: MIM, Table 6, "w/o representation center" and "end-to-end".
    """

    def __init__(self, represent: StageFolder, records: Path, *, learning: bool):
        super().__init__(name="encoded_items")
        self._find = ItemsById(records)
        self._model = load_item_encoder_model(represent)
        self._dim = self._model.embed.concrete_functions[0].output_shapes[-1]
        self._learning = learning
        self.weights: Sequence[tf.Variable] = list(self._model.learning) if learning else []

    def lookup(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Embeddings of items; an item that the records do not have gets a zero vector.

        Args:
            item_ids: `[...]` of the records' id type, padding included.

        Returns:
            `[..., dim]` float32.
        """
        distinct, numbers = tf.unique(tf.reshape(item_ids, [-1]))
        found = self._find(distinct)
        embeddings = tf.custom_gradient(self._embed)(found.images, found.titles)
        rows = tf.pad(embeddings if self._learning else tf.stop_gradient(embeddings), [[0, 1], [0, 0]])
        return tf.gather(rows, tf.reshape(tf.gather(found.places, numbers), tf.shape(item_ids)))

    def _embed(self, images: tf.Tensor, titles: tf.Tensor) -> tuple[tf.Tensor, object]:
        """`[items, dim]`, and the function that gives its gradients."""

        def embed_next(done: tf.Tensor) -> tuple[tf.Tensor]:
            chunk = _chunk_from(tf.shape(done)[0])
            return (tf.concat([done, self._model.embed(images[chunk], titles[chunk])], axis=0),)

        def gradients(upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> tuple[object, object]:
            return (None, None), self._gradients(images, titles, upstream, variables)

        embeddings = tf.while_loop(
            lambda done: tf.shape(done)[0] < tf.size(titles),
            embed_next,
            [tf.zeros([0, self._dim])],
            shape_invariants=[tf.TensorShape([None, self._dim])],
            parallel_iterations=1,
        )
        return embeddings[0], gradients

    def _gradients(
        self, images: tf.Tensor, titles: tf.Tensor, upstream: tf.Tensor, variables: Sequence[tf.Variable]
    ) -> list[tf.Tensor]:
        """Of the variables, from those `[items, dim]` of the embeddings."""

        def add_next(begin: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            chunk = _chunk_from(begin)
            with tf.GradientTape() as tape:
                embeddings = self._model.embed(images[chunk], titles[chunk])
            parts = tape.gradient(embeddings, variables, upstream[chunk], tf.UnconnectedGradients.ZERO)
            return chunk.stop, *(total + part for total, part in zip(sums, parts, strict=True))

        _, *sums = tf.while_loop(
            lambda begin, *_: begin < tf.size(titles),
            add_next,
            [tf.constant(0), *(tf.zeros(variable.shape, variable.dtype) for variable in variables)],
            parallel_iterations=1,
        )
        return sums


def _chunk_from(begin: tf.Tensor) -> slice:
    return slice(begin, begin + _ENCODED_AT_ONCE)
