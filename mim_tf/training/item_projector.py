"""The catalogue in TensorBoard's projector, as the representation center embeds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder
from mim_tf.training.catalogue_embeddings import padded
from mim_tf.training.filling import encoder_inputs
from mim_tf.training.projector import thumbnail_side, write_projector
from mim_tf.training.thumbnails import thumbnail

MOST_ITEMS = 2048
"""As many items are shown. They are embedded once more, since the store keeps the fused embedding alone."""


def project_items(encoder: ItemEncoder, items: tf.data.Dataset, batch_size: int, folder: Path) -> None:
    """Write items for TensorBoard's projector: embeddings of image, title and both fused (`h_MM`), with thumbnails.

    Of more than 2,048 items the first of the records are taken. These lie in the order of a hash, so it is a random
    sample, and the same one each time.

    Args:
        encoder: of the items, trained.
        items: batches of the item records, as `read_items` gives them.
        batch_size: items embedded at once.
        folder: of the projector alone; what it wrote there before is replaced.
    """
    # The encoder's input takes images and titles away: what is shown of them goes by other names.
    some = items.unbatch().take(MOST_ITEMS).map(lambda item: item | {"photo": item["image"], "shown": item["title"]})
    embeddings, photos, titles, categories = [], [], [], []
    for batch in encoder_inputs(encoder, some, batch_size):
        embeddings.append(_embedded(encoder, batch, batch_size))
        photos += [np.asarray(thumbnail(photo, thumbnail_side(MOST_ITEMS))) for photo in batch["photo"].numpy()]
        titles += _texts(batch["shown"])
        categories += _texts(batch["category"])
    image, text, fused = map(np.concatenate, zip(*embeddings, strict=True))
    write_projector(
        folder, {"image": image, "title": text, "fused": fused}, titles=titles, categories=categories, photos=photos
    )


def _embedded(encoder: ItemEncoder, batch: dict[str, tf.Tensor], size: int) -> list[np.ndarray]:
    """Three embeddings `[items, dim]`; batches of all sizes share one graph."""
    inputs = [padded(batch[name], size) for name in ("images", "token_ids")]
    return [rows.numpy()[: len(batch["photo"])] for rows in _embed(encoder, *inputs)]


@tf.function
def _embed(encoder: ItemEncoder, images: tf.Tensor, token_ids: tf.Tensor) -> ItemEmbeddings:
    return encoder(tf.cast(images, tf.float32), token_ids, training=False)


def _texts(strings: tf.Tensor) -> list[str]:
    return [string.decode(errors="replace") for string in strings.numpy()]
