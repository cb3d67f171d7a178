"""The log-sum-exp of queries over rows that are read a block at a time, with its exact gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from mim_tf.contrastive.info_nce import FurtherNegatives

_LOGITS, _ROWS = 2**20, 2**13  # of a block, at most, per level: 4 MB, and with 128 dimensions 4 MB
_LOWEST = tf.float32.min


class QueuedNegatives(NamedTuple):
    """What the rows of a queue add to each query's softmax, float32.

    Attributes:
        log_sum_exp: `[queries, levels]`, log of the sum of `exp(sim / T)` over the query's negatives; the lowest float
            where it has none, whose exp is 0.
        largest: `[queries, levels]`, the largest `sim / T` of them; without a gradient.
        negatives: `[queries]`, rows that counted.
        false_negatives: `[queries]`, rows of an item that is excluded, whether they counted or not.
    """

    log_sum_exp: tf.Tensor
    largest: tf.Tensor
    negatives: tf.Tensor
    false_negatives: tf.Tensor

    def of_level(self, level: int) -> FurtherNegatives:
        """One level's, as `info_nce` takes them."""
        return FurtherNegatives(self.log_sum_exp[:, level], self.largest[:, level], self.negatives)


class _Sums(NamedTuple):
    """What is known after some blocks, of `w_j = exp(logit_j - largest)`."""

    largest: tf.Tensor  # [levels, queries]
    weights: tf.Tensor  # [levels, queries], sum_j w_j
    rows: tf.Tensor  # [levels, queries, dim], sum_j w_j row_j
    false_negatives: tf.Tensor  # [queries]


def queue_softmax(
    queries: tf.Tensor,
    excluded_items: tf.Tensor,
    read: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    rows: tf.Tensor,
    *,
    levels: int,
    lower_bound: float,
    mask: bool,
) -> QueuedNegatives:
    """Of all rows' logits `q row^T` what a softmax needs, a block of rows at a time.

    Each block raises the running maximum and scales down what was summed before. No gradient flows to the rows, so
    that of the result is known when the sums are, `d log_sum_exp / d q = sum_j softmax_j row_j`: nothing of a block is
    kept or computed anew, and memory does not grow with the rows.

    Args:
        queries: `[queries, dim]` float32, divided by the temperature.
        excluded_items: `[queries, excluded]` int64, items whose rows are false negatives of the query.
        read: of row numbers `[block]` to the rows `[levels, block, dim]` float32 and their items `[block]` int64.
        rows: how many there are, a scalar.
        levels: how many embeddings a row has.
        lower_bound: below every logit.
        mask: leave false negatives out.

    Reference: Milakov & Gimelshein (arXiv 1805.02867); Dao et al., FlashAttention (arXiv 2205.14135).
    """

    @tf.custom_gradient
    def of_queries(queries: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., tf.Tensor]]:
        def add_block(start: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            numbers = tf.range(start, tf.minimum(start + block, rows))
            return start + block, *_with_block(_Sums(*sums), queries, excluded_items, *read(numbers), mask=mask)

        block = tf.clip_by_value(_LOGITS // tf.maximum(tf.shape(queries)[0], 1), 1, _ROWS)
        none = _no_sums(queries, levels, lower_bound)
        _, *state = tf.while_loop(lambda start, *_: start < rows, add_block, (0, *none), parallel_iterations=1)
        sums = _Sums(*state)

        def gradient(by_log_sum_exp: tf.Tensor, *_: Any) -> tf.Tensor:
            mean_rows = tf.math.divide_no_nan(sums.rows, sums.weights[..., tf.newaxis])
            return tf.einsum("ql,lqd->qd", by_log_sum_exp, mean_rows)

        return tuple(_outcome(sums, rows, mask)), gradient

    return QueuedNegatives(*of_queries(queries))


def _no_sums(queries: tf.Tensor, levels: int, lower_bound: float) -> _Sums:
    zeros = tf.zeros([levels, tf.shape(queries)[0]])
    return _Sums(zeros + lower_bound, zeros, zeros[..., tf.newaxis] + tf.zeros_like(queries), zeros[0])


def _with_block(
    sums: _Sums, queries: tf.Tensor, excluded_items: tf.Tensor, rows: tf.Tensor, items: tf.Tensor, *, mask: bool
) -> _Sums:
    """Add rows `[levels, block, dim]` of these items."""
    of_item = [items == excluded[:, tf.newaxis] for excluded in tf.unstack(excluded_items, axis=1)]
    false = functools.reduce(tf.logical_or, of_item)  # [queries, block]
    logits = tf.matmul(queries, rows, transpose_b=True)  # [levels, queries, block]
    if mask:
        logits += tf.where(false, -float("inf"), 0.0)
    # Never below the lower bound, so that a query without any negative meets no difference of infinities.
    largest = tf.maximum(sums.largest, tf.reduce_max(logits, axis=-1))
    weights = tf.exp(logits - largest[..., tf.newaxis])
    scale = tf.exp(sums.largest - largest)
    return _Sums(
        largest,
        scale * sums.weights + tf.reduce_sum(weights, axis=-1),
        scale[..., tf.newaxis] * sums.rows + tf.matmul(weights, rows),
        sums.false_negatives + tf.reduce_sum(tf.cast(false, tf.float32), axis=-1),
    )


def _outcome(sums: _Sums, rows: tf.Tensor, mask: bool) -> QueuedNegatives:
    all_rows = tf.fill(tf.shape(sums.false_negatives), tf.cast(rows, tf.float32))
    negatives = all_rows - sums.false_negatives if mask else all_rows
    log_sum_exp, largest = (
        tf.transpose(tf.where(negatives > 0, values, _LOWEST))  # [queries, levels]
        for values in (sums.largest + tf.math.log(sums.weights), sums.largest)
    )
    return QueuedNegatives(log_sum_exp, largest, negatives, sums.false_negatives)
