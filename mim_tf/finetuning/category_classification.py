"""Table 4's "cross-entropy, category": of which category is what the query and the item show?"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mim_tf.contrastive import info_nce
from mim_tf.finetuning.multi_level import MultiLevel


class CategoryClassification(keras.layers.Layer):
    """Cross-entropy of the chosen item's category, told from the query and from the item.

    Both are compared with one learnt embedding `w_c` per category: `softmax_c(sim(h, w_c) / T)`, for the query and for
    each level of the item alike. Pairs and negatives play no part.

    Args:
        levels: which embeddings of an item count, and how much.
        temperature: of the softmax.
        categories: how many there are.
        dim: of the embeddings.

    Call arguments:
        queries: `[batch, dim]` float32.
        candidates: `[batch, 1, levels, dim]` float32.
        batch: `category` `[batch]` int64, of the chosen item.

    Returns:
        Scalars: the loss, that of the queries and those of the levels, and how often the fused embedding's was right.

    Reference: MIM, Table 4.
    """

    candidates_per_pair = 1

    def __init__(self, levels: MultiLevel, temperature: float, *, categories: int, dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.levels = levels
        self.temperature = temperature
        self.embeddings = self.add_weight(shape=(categories, dim), initializer="random_normal", name="embeddings")
        self.built = True

    def call(
        self, queries: tf.Tensor, candidates: tf.Tensor, batch: dict[str, tf.Tensor], training: bool = False
    ) -> dict[str, tf.Tensor]:
        """Classify a batch."""
        shown = [queries, *tf.unstack(candidates[:, 0], num=len(self.levels.weights), axis=1)]
        outcomes = [self._classify(rows, batch["category"]) for rows in shown]
        (query_loss, _), (_, accuracy), *_ = outcomes
        of_levels = self.levels(
            {level: loss for level, (loss, _) in zip(self.levels.weights, outcomes[1:], strict=True)}
        )
        return {
            **of_levels,
            "loss": of_levels["loss"] + query_loss,
            "query_loss": query_loss,
            "category_accuracy": accuracy,
        }

    def _classify(self, rows: tf.Tensor, categories: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outcome = info_nce(rows, self.embeddings, categories, temperature=self.temperature)
        return tf.reduce_mean(outcome.losses), tf.reduce_mean(outcome.first)
