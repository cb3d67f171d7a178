"""C-SFT small enough for tests: toy encoders, eight pairs, hard negatives out of a table."""

import io
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from mim_tf.contrastive import NegativeQueue
from mim_tf.encoders import text_encoder, vision_encoder
from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.finetuning.multi_level import MultiLevel
from mim_tf.finetuning.space_time_contrast import SpaceTimeContrast
from tests.encoders.toys import tokenizer_files

DIM, ROWS, SIZE = 4, 8, 32
LEVELS = MultiLevel(alpha=0.5, beta=0.25)
TITLES = np.array(["red dress", "a", "blue summer hat", "red dress", "bag of red", "shoe", "a", "red"])
_NEGATIVE_IDS = [2, 9, 1, 8, 10, 11, 12, 13]  # some are other pairs' items


def _picture(seed: int) -> bytes:
    file = io.BytesIO()  # not by TensorFlow, which must not begin before its devices are split
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


_NEGATIVE_IMAGES = [_picture(row) for row in range(ROWS)]


def vision(name: str = "vit_toy") -> Any:
    """F_V."""
    return vision_encoder(name, dim=DIM, image_size=SIZE)


def text(family: str = "bert") -> Any:
    """F_L."""
    return text_encoder(f"{family}_toy", dim=DIM, length=8, files=tokenizer_files(family))


def item_encoder() -> ItemEncoder:
    """Both under a tensor fusion."""
    return ItemEncoder(vision(), text(), (), DIM)


def negatives(item_rows: tf.Tensor, chosen_rows: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """What stands for draws from a catalogue: a shift of the table by the seed."""
    rows = (item_rows + tf.cast(seed[0], tf.int64)) % ROWS
    return {
        "negative_item_id": tf.gather(tf.constant(_NEGATIVE_IDS, tf.int64), rows),
        "negative_image": tf.gather(tf.constant(_NEGATIVE_IMAGES), rows),
        "negative_title": tf.gather(tf.constant(TITLES), rows),
        "category": item_rows % 3,
        "negative_fallback": rows == 0,
    }


def examples(step: int) -> dict[str, tf.Tensor]:
    """What pairs decode to; some titles and items come twice."""
    random = np.random.default_rng(step)
    images = {
        name: tf.constant(random.integers(0, 256, (ROWS, SIZE, SIZE, 3), np.uint8)) for name in ("image", "query_image")
    }
    return images | {
        "title": tf.constant(TITLES),
        "item_id": tf.constant([1, 2, 3, 1, 5, 6, 2, 8], tf.int64),
        "query_item_id": tf.constant([-1, 8, -1, 9, -1, -1, 1, -1], tf.int64),
        "item_row": tf.range(ROWS, dtype=tf.int64),
        "chosen_rows": tf.fill([ROWS], ""),
    }


def contrast(batches: int = 0, rows: int = 2 * ROWS, **options: Any) -> SpaceTimeContrast:
    """The loss, with a queue if it is to hold any batches."""
    queue = NegativeQueue(batches=batches, rows=rows, levels=len(LEVELS.weights), dim=DIM) if batches else None
    return SpaceTimeContrast(LEVELS, 0.1, queue=queue, **options)


def toy_csft(batches: int = 0, **options: Any) -> CsftModel:
    """The objective with its contrastive loss."""
    return CsftModel(item_encoder(), contrast(batches), negatives, **options)
