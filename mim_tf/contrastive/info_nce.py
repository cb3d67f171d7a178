"""InfoNCE over cosine similarities, as a pure function of tensors."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.contrastive.product_rows import product_rows


def info_nce(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    positives: tf.Tensor,
    *,
    temperature: float | tf.Tensor,
    excluded: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Contrast each query's positive candidate with all other candidates.

    `L = -log( exp(sim(h_q, h_+) / T) / sum_j exp(sim(h_q, h_j) / T) )`, `sim` the cosine. The paper prints no
    temperature `T`; 1.0 gives its form. Computed in float32 whatever comes in: a softmax over thousands of candidates
    loses its tail in half precision.

    Args:
        queries: `[queries, dim]` embeddings, normalised here.
        candidates: `[candidates, dim]` embeddings, normalised here; all are negatives but a query's own positive.
        positives: `[queries]` int, each query's positive as an index into `candidates`.
        temperature: what the cosine is divided by, > 0.
        excluded: `[queries, candidates]` bool, True where a candidate is no negative of the query (a copy of its
            positive, for one). A positive is never excluded.

    Returns:
        The loss of every query and whether its positive came first, both `[queries]` float32.

    Raises:
        ValueError: `temperature` is not positive.

    Reference: MIM, equation (5); van den Oord et al. (arXiv 1807.03748).
    """
    if not tf.is_tensor(temperature) and temperature <= 0:
        raise ValueError(f"`temperature` must be positive. Received: {temperature}.")
    queries = tf.math.l2_normalize(tf.cast(queries, tf.float32), axis=-1)
    candidates = tf.math.l2_normalize(tf.cast(candidates, tf.float32), axis=-1)
    labels = [positives] if excluded is None else [positives, excluded]
    columns = product_rows(_losses, queries / temperature, candidates, *labels)
    losses, first = tf.unstack(columns, num=2, axis=1)
    return losses, first


def _losses(logits: tf.Tensor, positives: tf.Tensor, excluded: tf.Tensor | None = None) -> tf.Tensor:
    """Of logits `[queries, candidates]` the losses and whether the positives came first, `[queries, 2]`."""
    if excluded is not None:
        is_positive = tf.one_hot(positives, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
        logits = tf.where(excluded & ~is_positive, logits.dtype.min, logits)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positives, logits=logits)
    first = tf.equal(tf.argmax(logits, axis=-1), tf.cast(positives, tf.int64))
    return tf.stack([losses, tf.cast(first, tf.float32)], axis=1)
