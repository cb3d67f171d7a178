"""A model with all that exported ones are made of: hash table, strings, flat histories, float16, images."""

from pathlib import Path

import numpy as np
import tensorflow as tf

IMAGE = tf.io.encode_png(np.full([2, 3, 3], 51, np.uint8)).numpy()  # of brightness 51 / 255 = 0.2


class RaggedRanker(tf.Module):
    """Item 7 has the embedding (1, 2), item 8 has (3, 4), any other (0, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = tf.Variable([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
        self.index = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int32, 0, empty_key=-1, deleted_key=-2)
        self.index.insert(tf.constant([7, 8], tf.int64), tf.constant([1, 2]))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "item_id"),
            tf.TensorSpec([None], tf.string, "category"),
            tf.TensorSpec([None], tf.int64, "history_item_id"),
            tf.TensorSpec([None], tf.int64, "history_length"),
            tf.TensorSpec([None], tf.float32, "weight"),
        ]
    )
    def rank(
        self,
        item_id: tf.Tensor,
        category: tf.Tensor,
        history_item_id: tf.Tensor,
        history_length: tf.Tensor,
        weight: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The sum of the target's products with its behaviours, times its weight."""
        target = tf.gather(self.rows, self.index.lookup(item_id))
        behaviours = tf.gather(self.rows, self.index.lookup(history_item_id))
        history = tf.RaggedTensor.from_row_lengths(behaviours, history_length).to_tensor()
        score = weight * tf.reduce_sum(target[:, tf.newaxis] * history, axis=[1, 2])
        return {"score": score, "category": tf.strings.upper(category)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image")])
    def embed(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        def brightness(data: tf.Tensor) -> tf.Tensor:
            pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
            return tf.reduce_mean(tf.image.convert_image_dtype(pixels, tf.float32))

        return {"brightness": tf.map_fn(brightness, image, fn_output_signature=tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float16, "content")])
    def half(self, content: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(tf.cast(content, tf.float32), axis=1)}

    def save(self, folder: Path) -> None:
        signatures = {"serving_default": self.rank, "embed": self.embed, "half": self.half}
        tf.saved_model.save(self, str(folder), signatures=signatures)


# Row 0: (1, 2) with (1, 2) and (3, 4) is 5 + 11 = 16. Row 1: (3, 4) with (3, 4) is 25, times 0.5.
INPUTS = {
    "item_id": np.array([7, 8]),
    "category": np.array([b"mug", b"dress"], object),
    "history_item_id": np.array([7, 8, 8]),
    "history_length": np.array([2, 1]),
    "weight": np.float32([1, 0.5]),
}
SCORE = [16.0, 12.5]
