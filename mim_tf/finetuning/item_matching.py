"""Table 4's "cross-entropy, click or purchase": is this the item that was chosen after the query?"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mim_tf.finetuning.multi_level import MultiLevel


class ItemMatching(keras.layers.Layer):
    """Binary cross-entropy of each query with the item that was chosen (1) and with its hard negative (0).

    `p = sigmoid(sim(h_q, h_i) / T + b)`, the bias `b` learnt for each level. No other item is compared.

    Args:
        levels: which embeddings of an item count, and how much.
        temperature: what the cosine is divided by.

    Call arguments:
        queries: `[batch, dim]` float32.
        candidates: `[batch, 2, levels, dim]` float32, the chosen item and the hard negative.

    Returns:
        Scalars: the loss and its levels, and how often the chosen item was nearer by its fused embedding.

    Reference: MIM, Table 4.
    """

    candidates_per_pair = 2

    def __init__(self, levels: MultiLevel, temperature: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.levels = levels
        self.temperature = temperature
        self.bias = self.add_weight(shape=(len(levels.weights),), initializer="zeros", name="bias")
        self.built = True

    def call(
        self, queries: tf.Tensor, candidates: tf.Tensor, batch: dict[str, tf.Tensor], training: bool = False
    ) -> dict[str, tf.Tensor]:
        """Compare a batch."""
        queries, candidates = (tf.math.l2_normalize(rows, axis=-1) for rows in (queries, candidates))
        cosines = tf.einsum("qd,qcld->qcl", queries, candidates)
        labels = tf.broadcast_to([[[1.0], [0.0]]], tf.shape(cosines))
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, cosines / self.temperature + self.bias)
        by_level = tf.unstack(tf.reduce_mean(losses, axis=[0, 1]), num=len(self.levels.weights))
        nearer = cosines[:, 0, 0] > cosines[:, 1, 0]  # the fused level comes first
        return {
            **self.levels(dict(zip(self.levels.weights, by_level, strict=True))),
            "query_to_item_accuracy": tf.reduce_mean(tf.cast(nearer, tf.float32)),
        }
