"""InfoNCE over cosine similarities, as a pure function of tensors."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from mim_tf.contrastive.product_rows import product_rows


class FurtherNegatives(NamedTuple):
    """What negatives that are not among the candidates add to each query's softmax, `[queries]` float32.

    Attributes:
        log_sum_exp: log of the sum of `exp(sim / T)` over them, the lowest float where there are none.
        largest: the largest `sim / T` of them.
        negatives: how many they are.
    """

    log_sum_exp: tf.Tensor
    largest: tf.Tensor
    negatives: tf.Tensor


class Contrast(NamedTuple):
    """How each query fared, `[queries]` float32.

    Attributes:
        losses: equation (5).
        first: 1 where no negative came before the positive, otherwise 0.
        negatives: how many the positive was contrasted with.
    """

    losses: tf.Tensor
    first: tf.Tensor
    negatives: tf.Tensor


def info_nce(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    positives: tf.Tensor,
    *,
    temperature: float | tf.Tensor,
    excluded: tf.Tensor | None = None,
    further: FurtherNegatives | None = None,
) -> Contrast:
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
        further: negatives that lie elsewhere, at the same temperature.

    Raises:
        ValueError: `temperature` is not positive.

    Reference: MIM, equation (5); van den Oord et al. (arXiv 1807.03748).
    """
    if not tf.is_tensor(temperature) and temperature <= 0:
        raise ValueError(f"`temperature` must be positive. Received: {temperature}.")
    queries = tf.math.l2_normalize(tf.cast(queries, tf.float32), axis=-1) / temperature
    candidates = tf.math.l2_normalize(tf.cast(candidates, tf.float32), axis=-1)
    labels = [positives] if excluded is None else [positives, excluded]
    contrast = Contrast(*tf.unstack(product_rows(_contrast, queries, candidates, *labels), num=3, axis=1))
    if further is None:
        return contrast
    return _against_more(contrast, tf.reduce_sum(queries * tf.gather(candidates, positives), axis=1), further)


def _contrast(logits: tf.Tensor, positives: tf.Tensor, excluded: tf.Tensor | None = None) -> tf.Tensor:
    """Of logits `[queries, candidates]` the fields of `Contrast`, `[queries, 3]`."""
    if excluded is not None:
        is_positive = tf.one_hot(positives, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool)
        logits = tf.where(excluded & ~is_positive, logits.dtype.min, logits)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positives, logits=logits)
    first = tf.cast(tf.equal(tf.argmax(logits, axis=-1), tf.cast(positives, tf.int64)), tf.float32)
    counted = tf.reduce_sum(tf.cast(logits > logits.dtype.min, tf.float32), axis=1)
    return tf.stack([losses, first, counted - 1], axis=1)


def _against_more(contrast: Contrast, logits: tf.Tensor, further: FurtherNegatives) -> Contrast:
    """Add one more logit to each softmax, whose exp is the sum over the further negatives.

    `-log( e^p / (Z + F) ) = L + log(1 + F / Z)`, where `L = log Z - p` is the loss so far; what is exponentiated in the
    end is `log F - log Z`.

    Args:
        contrast: against the candidates alone.
        logits: the positives', `[queries]`.
        further: as in `info_nce`.
    """
    losses = contrast.losses + tf.math.softplus(further.log_sum_exp - logits - contrast.losses)
    first = contrast.first * tf.cast(logits >= further.largest, tf.float32)
    return Contrast(losses, first, contrast.negatives + further.negatives)
