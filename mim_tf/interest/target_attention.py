"""Multi-head attention of one target over a history, of which no projected copy is ever made.

Projected keys and values would each be `[batch, length, heads * key_dim]`. Both projections are linear, and there is
one query only, so they can be moved to the other side of the sum:

```
score_i = (K_i W_k) . (q W_q) = K_i . (W_k (q W_q)^T)              the query goes into the behaviours' space, once
head    = sum_i a_i (K_i W_v) = (sum_i a_i K_i) W_v                the values are projected after the sum
```

This is exact, up to the order of rounding. Time and memory per behaviour are those of K itself and of one score per
head: memory is linear in the length, with no `[batch, heads, length, dim]` tensor.
"""

import tensorflow as tf

from mim_tf.interest.masked_softmax import masked_softmax


def map_queries(target: tf.Tensor, query_kernel: tf.Tensor, key_kernel: tf.Tensor) -> tf.Tensor:
    """Return each head's query in the space of the behaviours, `W_k (q W_q)^T`.

    Args:
        target: q, `[batch, dim]`.
        query_kernel: W_q, `[heads, dim, key_dim]`.
        key_kernel: W_k, `[heads, width, key_dim]`.

    Returns:
        `[batch, heads, width]`.
    """
    queries = tf.einsum("bd,hdk->bhk", target, tf.cast(query_kernel, target.dtype))
    return tf.einsum("bhk,hwk->bhw", queries, tf.cast(key_kernel, target.dtype))


def attention_scores(queries: tf.Tensor, behaviours: tf.Tensor) -> tf.Tensor:
    """Return the inner products of `[batch, heads, width]` and `[batch, length, width]`: `[batch, heads, length]`."""
    return tf.matmul(queries, behaviours, transpose_b=True)


def attend(scores: tf.Tensor, behaviours: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return `sum_i a_i K_i` for each head, a the softmax of the scores whose mask is True; zeros where there is none.

    Args:
        scores: `[batch, heads, length]`.
        behaviours: K, `[batch, length, width]`; finite where the mask is False, too.
        mask: bool, of a shape that broadcasts to that of `scores`.

    Returns:
        `[batch, heads, width]`.
    """
    return tf.matmul(masked_softmax(scores, mask), behaviours)


def join_heads(heads: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the heads side by side, projected: `[batch, heads, width]` and `[heads, width, dim]` to `[batch, dim]`."""
    return tf.einsum("bhw,hwd->bd", heads, tf.cast(kernel, heads.dtype))
