"""The contrastive loss of C-SFT over negatives from space and time (ST-NSG)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mim_tf.contrastive import NegativeQueue, QueuedNegatives, gather, info_nce, own_rows
from mim_tf.finetuning.multi_level import MultiLevel


class SpaceTimeContrast(keras.layers.Layer):
    """InfoNCE of each query over the candidates of its batch, of all replicas' batches and of past ones.

    With N triplets on each of P replicas and k batches in the queue a query has `2NP(k + 1) - 1` negatives, less those
    that are false: rows of its positive's own item or, where an item's picture stands for the query, of that item.
    Gradients reach the candidates of all replicas' current batches, and none of the queue's.

    Args:
        levels: which embeddings of a candidate count, and how much.
        temperature: of the softmax; 1.0 is the paper's form.
        mask_false_negatives: leave them out. They are counted either way.
        space_time: take hard negatives and the candidates of all replicas, not the positives of the own one alone.
        queue: the candidates of past batches.

    Call arguments:
        queries: `[batch, dim]` float32.
        candidates: `[batch, candidates per pair, levels, dim]` float32; the positive is each pair's first.
        batch: `items` `[batch, candidates per pair]` int64, and `query_item` `[batch]` int64: the item whose picture
            the query is, an id that no item has where it is a shopper's own photo.
        remembered: what enters the queue in the candidates' place, of their shape.

    Returns:
        Scalars: the loss and its levels, how often the positive came first, negatives and false ones per query.

    Reference: MIM, section 3.3, equations (5) and (6).
    """

    def __init__(
        self,
        levels: MultiLevel,
        temperature: float,
        *,
        mask_false_negatives: bool = True,
        space_time: bool = True,
        queue: NegativeQueue | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.levels = levels
        self.temperature = temperature
        self.mask_false_negatives = mask_false_negatives
        self.queue = queue
        self.candidates_per_pair = 2 if space_time else 1
        self._space_time = space_time
        self._gather = gather if space_time else tf.identity
        self.built = True

    def call(
        self,
        queries: tf.Tensor,
        candidates: tf.Tensor,
        batch: dict[str, tf.Tensor],
        remembered: tf.Tensor | None = None,
        training: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Contrast a batch; in training its candidates then enter the queue."""
        items = _in_one_row(self._gather(batch["items"]))  # [candidates of all replicas]
        rows = _in_one_row(self._gather(candidates))  # [candidates of all replicas, levels, dim]
        own_items = tf.stack([batch["items"][:, 0], batch["query_item"]], axis=1)  # [batch, 2]
        scalars = self._contrast(queries, rows, items, own_items)
        if self.queue and training:
            self.queue.push(rows if remembered is None else _in_one_row(self._gather(remembered)), items)
        return scalars

    def _contrast(
        self, queries: tf.Tensor, rows: tf.Tensor, items: tf.Tensor, own_items: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        own = (own_items[:, :1] == items) | (own_items[:, 1:] == items)  # [batch, candidates], positives among them
        false_negatives = tf.math.count_nonzero(own, axis=1, dtype=tf.float32) - 1.0
        excluded = own if self.mask_false_negatives else None
        past = self._past(queries, own_items)
        outcomes = {
            level: info_nce(
                queries,
                rows[:, index],
                self._positives(tf.shape(queries)[0]),
                temperature=self.temperature,
                excluded=excluded,
                further=past.of_level(index) if past else None,
            )
            for index, level in enumerate(self.levels.weights)
        }
        means = {level: tf.reduce_mean(outcome.losses) for level, outcome in outcomes.items()}
        if past:
            false_negatives += past.false_negatives
        return {
            **self.levels(means),
            "query_to_item_accuracy": tf.reduce_mean(outcomes["fused"].first),
            "negatives": tf.reduce_mean(outcomes["fused"].negatives),
            "false_negatives": tf.reduce_mean(false_negatives),
        }

    def _past(self, queries: tf.Tensor, own_items: tf.Tensor) -> QueuedNegatives | None:
        if not self.queue:
            return None
        return self.queue(queries, own_items, temperature=self.temperature, mask=self.mask_false_negatives)

    def _positives(self, rows: tf.Tensor) -> tf.Tensor:
        """Where the queries' positives are among the candidates, which begin with all replicas' positives."""
        return own_rows(rows) if self._space_time else tf.range(rows)


def _in_one_row(candidates: tf.Tensor) -> tf.Tensor:
    """`[pairs, candidates per pair, ...]` to `[pairs * candidates per pair, ...]`, the positives first."""
    by_place = tf.transpose(candidates, [1, 0, *range(2, candidates.shape.rank)])
    return tf.reshape(by_place, [-1, *candidates.shape[2:]])
