"""The sigmoid loss of SigLIP, as a pure function of tensors."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.contrastive.product_rows import product_rows


def pair_sigmoid(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    positives: tf.Tensor,
    *,
    temperature: float | tf.Tensor,
    bias: float | tf.Tensor,
    excluded: tf.Tensor | None = None,
) -> tf.Tensor:
    """Ask of each query and candidate whether they belong together.

    `L_i = -sum_j log sigmoid( y_ij (sim(h_i, h_j) / T + b) )`, `y` 1 for the positive and -1 for all others. With as
    many negatives as there are, a bias of about -10 lets the training start from "no".

    Args:
        queries: `[queries, dim]` embeddings, normalised here.
        candidates: `[candidates, dim]` embeddings, normalised here.
        positives: `[queries]` int, each query's positive as an index into `candidates`.
        temperature: what the cosine is divided by, > 0.
        bias: what is added to it then.
        excluded: `[queries, candidates]` bool, True where a candidate is no negative of the query. A positive is never
            excluded.

    Returns:
        The loss of every query, `[queries]` float32.

    Reference: Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv 2303.15343), equation in section 3.2.
    """
    queries = tf.math.l2_normalize(tf.cast(queries, tf.float32), axis=-1)
    candidates = tf.math.l2_normalize(tf.cast(candidates, tf.float32), axis=-1)
    # The bias as one more product: q c / T + b * 1.
    queries = tf.concat([queries / temperature, tf.fill([tf.shape(queries)[0], 1], bias)], axis=1)
    candidates = tf.concat([candidates, tf.ones([tf.shape(candidates)[0], 1])], axis=1)
    labels = [positives] if excluded is None else [positives, excluded]
    return product_rows(_losses, queries, candidates, *labels)[:, 0]


def _losses(logits: tf.Tensor, positives: tf.Tensor, excluded: tf.Tensor | None = None) -> tf.Tensor:
    """Of logits `[queries, candidates]` the losses, `[queries, 1]`."""
    belongs = tf.one_hot(positives, tf.shape(logits)[1])
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=belongs, logits=logits)
    if excluded is not None:
        losses = tf.where(excluded & (belongs == 0), 0.0, losses)
    return tf.reduce_sum(losses, axis=-1, keepdims=True)
