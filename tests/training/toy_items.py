"""Items and an item encoder small enough to be made for every test."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from mim_tf.encoders import text_encoder, vision_encoder, vocabulary_files
from mim_tf.finetuning.item_encoder import ItemEncoder

DIM, PIXELS = 4, 16
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "mug", "lamp"]
TITLES = ("red mug", "lamp", "red lamp", "mug", "red")


class Item(NamedTuple):
    """What a shop knows of an item."""

    item_id: int | str
    title: str
    image: bytes


def toy_encoder() -> ItemEncoder:
    text = text_encoder("bert_toy", length=5, dim=DIM, files=vocabulary_files(VOCABULARY))
    return ItemEncoder(vision_encoder("vit_toy", image_size=PIXELS, dim=DIM), text, fusion_units=(), dim=DIM)


def picture(seed: int) -> bytes:
    """A picture of noise, of another size than the encoder's."""
    pixels = np.random.default_rng(seed).integers(0, 256, [12, 20, 3], np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def toy_items(count: int) -> list[Item]:
    return [Item(100 + number, TITLES[number % len(TITLES)], picture(number)) for number in range(count)]


def records_of(items: Sequence[Item], batch_size: int = 3) -> tf.data.Dataset:
    """The items as `read_items` gives them."""
    columns = {name: [getattr(item, name) for item in items] for name in Item._fields}
    return tf.data.Dataset.from_tensor_slices(columns | {"category": ["c"] * len(items)}).batch(batch_size)


def embedded_one_by_one(encoder: ItemEncoder, items: Sequence[Item]) -> np.ndarray:
    """`[items, dim]` float32."""
    rows = []
    for item in items:
        pixels = encoder.vision.decode(tf.constant(item.image))[tf.newaxis]
        rows.append(encoder(pixels, encoder.text.tokenize(tf.constant([item.title]))).fused.numpy()[0])
    return np.stack(rows)
