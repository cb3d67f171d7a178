"""Space-time negative sample generation, the first half: a hard negative of the positive's own category."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mim_tf.data.catalogue import Catalogue
from mim_tf.data.record_files import Folder
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema


class HardNegatives:
    """Draws an item for each pair that its user did not choose, inside of the input pipeline.

    What is drawn depends on the seed alone. `training_batches` hands out another one for every batch, so each epoch
    draws afresh, and a training that continues sees what it would have seen.

    Args:
        folder: what `prepare` wrote.
        verify: read the item records once, so that damage shows now, with the name of the file, and not hours later.

    Call arguments:
        item_rows: the positives' rows of the catalogue, `[batch]` int64.
        chosen_rows: the rows that each pair's user chose, packed as records hold them, `[batch]` string.
        seed: `[2]` int32.

    Returns:
        `negative_item_id`, `negative_image` (encoded), `negative_title`; `category`, the number of the positive's
        category, int64; `negative_fallback`, whether the negative is of another category because that one had none
        left, bool. All `[batch]`.

    Raises:
        DataError: the folder holds no catalogue, or a file is missing, truncated or corrupt.

    Reference: MIM, section 3.3, ST-NSG.
    """

    def __init__(self, folder: Folder, *, verify: bool = True) -> None:
        self._catalogue = Catalogue.open(folder, verify=verify)
        self._parse = RecordParser(RecordSchema.load(folder), TRAIN_ITEMS)

    def __call__(self, item_rows: tf.Tensor, chosen_rows: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """The negatives' fields."""
        kinds = [tf.string, tf.int64, tf.bool]
        drawn = tf.numpy_function(self._draw, [item_rows, chosen_rows, seed], kinds)
        examples, category, fallback = (tf.ensure_shape(part, item_rows.shape) for part in drawn)
        negatives = self._parse(examples)
        return {
            **{f"negative_{name}": negatives[name] for name in ("item_id", "image", "title")},
            "category": category,
            "negative_fallback": fallback,
        }

    def _draw(self, item_rows: np.ndarray, chosen_rows: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, ...]:
        random = np.random.default_rng(seed.view(np.uint32))  # a generator takes no negative numbers
        rows, fallback = self._catalogue.negatives(item_rows, chosen_rows.tolist(), random)
        # An array of bytes objects: one of fixed-width bytes would lose the zeros at their ends.
        examples = np.array(self._catalogue.examples(rows), object)
        return examples, self._catalogue.category_of(item_rows), fallback
