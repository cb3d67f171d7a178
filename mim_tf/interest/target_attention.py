"""Multi-head attention of a user's targets over their history, of which no projected copy is ever made.

Projected keys and values would each be `[batch, length, heads * key_dim]`. Both projections are linear, so they can be
moved to the other side of the sum:

```
score_i = (K_i W_k) . (q W_q) = K_i . (W_k (q W_q)^T)              the query goes into the behaviours' space, once
head    = sum_i a_i (K_i W_v) = (sum_i a_i K_i) W_v                the values are projected after the sum
```

This is exact, up to the order of rounding. Time and memory per behaviour are those of K itself and of one score per
head and candidate: memory is linear in the length, with no tensor that has length, dimension and either heads or
candidates. Of a user the scores of all candidates and heads are one matrix product, and so is what they pool.
"""

import tensorflow as tf


def map_queries(targets: tf.Tensor, query_kernel: tf.Tensor, key_kernel: tf.Tensor) -> tf.Tensor:
    """Return each head's query in the space of the behaviours, `W_k (q W_q)^T`.

    Args:
        targets: q, `[batch, candidates, dim]`.
        query_kernel: W_q, `[heads, dim, key_dim]`.
        key_kernel: W_k, `[heads, width, key_dim]`.

    Returns:
        `[batch, candidates, heads, width]`.
    """
    queries = tf.einsum("bcd,hdk->bchk", targets, tf.cast(query_kernel, targets.dtype))
    return tf.einsum("bchk,hwk->bchw", queries, tf.cast(key_kernel, targets.dtype))


def attention_scores(queries: tf.Tensor, behaviours: tf.Tensor) -> tf.Tensor:
    """Return the inner products of queries and behaviours, `[batch, candidates, heads, length]`.

    Args:
        queries: `[batch, candidates, heads, width]`.
        behaviours: K, `[batch, length, width]`.
    """
    return _at_once(queries, behaviours, transpose_b=True)


def pool(attention: tf.Tensor, behaviours: tf.Tensor) -> tf.Tensor:
    """Return `sum_i a_i K_i` of each candidate and head, `[batch, candidates, heads, width]`.

    Args:
        attention: a, `[batch, candidates, heads, length]`.
        behaviours: K, `[batch, length, width]`; finite where a is 0, too.
    """
    return _at_once(attention, behaviours)


def _at_once(rows: tf.Tensor, behaviours: tf.Tensor, transpose_b: bool = False) -> tf.Tensor:
    """Return the product of all rows of a user, `[batch, candidates, heads, ...]`, with their behaviours."""
    batch, candidates, heads, width = tf.unstack(tf.shape(rows))
    product = tf.matmul(tf.reshape(rows, [batch, candidates * heads, width]), behaviours, transpose_b=transpose_b)
    return tf.reshape(product, [batch, candidates, heads, tf.shape(product)[2]])


def join_heads(heads: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the heads side by side, projected, `[batch, candidates, dim]`.

    Args:
        heads: `[batch, candidates, heads, width]`.
        kernel: `[heads, width, dim]`.
    """
    return tf.einsum("bchw,hwd->bcd", heads, tf.cast(kernel, heads.dtype))
