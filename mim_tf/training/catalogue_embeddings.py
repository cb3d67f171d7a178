"""The embeddings of all items of the records, as they are while the encoder learns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN_ITEMS, RecordSchema
from mim_tf.data.records import read_items
from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder


class CatalogueEmbeddings(NamedTuple):
    """Items in the order in which they were read; of a catalogue all, those that stage 1 held out too.

    Attributes:
        item_ids: `[items]` int64, or bytes as objects.
        image: `[items, dim]`, F_V of the images.
        text: `[items, dim]`, F_L of the titles.
        fused: `[items, dim]`, `h_MM`.
    """

    item_ids: np.ndarray
    image: np.ndarray
    text: np.ndarray
    fused: np.ndarray


def embed_catalogue(encoder: ItemEncoder, records: Path, batch_size: int) -> CatalogueEmbeddings:
    """Embed every item of the records.

    Args:
        encoder: of the items.
        records: what `prepare` wrote.
        batch_size: items embedded at once.

    Raises:
        DataError: the records are missing or damaged.
    """
    counts = RecordSchema.load(records).counts
    size = min(batch_size, counts[TRAIN_ITEMS] + counts.get(HELD_OUT_ITEMS, 0))
    return embed_items(encoder, read_items(records, verify=False), size)


def embed_items(encoder: ItemEncoder, items: tf.data.Dataset, size: int) -> CatalogueEmbeddings:
    """Embed some items.

    Args:
        encoder: of the items.
        items: records of items, one by one, at least one.
        size: items embedded at once.
    """
    columns = zip(*_embedded_batches(encoder, items, size), strict=True)
    return CatalogueEmbeddings(*map(np.concatenate, columns))


def padded(rows: tf.Tensor, size: int) -> tf.Tensor:
    """Rows filled up with zeros to `size`: the last batch has the shape of the others, which no graph is built for."""
    return tf.pad(rows, [[0, size - tf.shape(rows)[0]]] + [[0, 0]] * (rows.shape.rank - 1))


def _embedded_batches(encoder: ItemEncoder, items: tf.data.Dataset, size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Ids and the three embeddings, batch by batch."""

    def decode(item: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        return item["item_id"], tf.cast(encoder.vision.decode(item["image"]), tf.uint8), item["title"]

    def assemble(item_ids: tf.Tensor, images: tf.Tensor, titles: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return item_ids, padded(images, size), padded(encoder.text.tokenize(titles), size)

    for item_ids, *inputs in (
        items.map(decode, tf.data.AUTOTUNE).batch(size).map(assemble, tf.data.AUTOTUNE).prefetch(2)
    ):
        embeddings = _embed(encoder, *inputs)
        yield item_ids.numpy(), *(rows.numpy()[: len(item_ids)] for rows in embeddings)


# Traced once per encoder: it is measured again and again.
@tf.function
def _embed(encoder: ItemEncoder, images: tf.Tensor, token_ids: tf.Tensor) -> ItemEmbeddings:
    return encoder(tf.cast(images, tf.float32), token_ids, training=False)
