"""Predicting tokens with the matrix that they are looked up in."""

from __future__ import annotations

import keras
import tensorflow as tf

from mim_tf.contrastive import replica_mean


def predict_tokens(
    hidden: tf.Tensor, targets: tf.Tensor, embedding: keras.Variable, bias: keras.Variable | None = None
) -> dict[str, tf.Tensor]:
    """Cross-entropy of tokens under a softmax over the vocabulary, `-log softmax(E h + b)[target]`.

    The output matrix `E` is the input embedding. Means are over the tokens of all replicas; zero without a token.

    Args:
        hidden: `[tokens, hidden]` float32, what each is predicted from.
        targets: `[tokens]` int32, below the vocabulary's size.
        embedding: `E`, `[vocabulary, hidden]`.
        bias: `b`, `[vocabulary]`; None leaves it out.

    Returns:
        `loss`, in nats per token; `accuracy`, the share of tokens that came first.

    Reference: Press & Wolf, Using the Output Embedding to Improve Language Models (arXiv 1608.05859).
    """
    logits = tf.matmul(hidden, tf.cast(embedding.value, tf.float32), transpose_b=True)  # [tokens, vocabulary]
    if bias is not None:
        logits += bias.value
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    first = tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), targets), tf.float32)
    one_each = tf.ones_like(losses)
    return {"loss": replica_mean(losses, one_each), "accuracy": replica_mean(first, one_each)}
