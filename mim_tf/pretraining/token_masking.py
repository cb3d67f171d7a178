"""Which tokens of a title are hidden for masked language modelling, and behind what."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mim_tf.encoders.tokenizers import Masking

_MASKED, _REPLACED = 0.8, 0.1  # shares of the chosen tokens; the rest stays as it is


def mask_tokens(
    token_ids: tf.Tensor, seed: tf.Tensor, masking: Masking, *, share: float, whole_words: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Choose tokens of each title and hide them as BERT does.

    Of a title's `n` tokens that are not special `max(1, round(share * n))` are chosen, halves rounded to even, and none
    where there are none. Of the chosen 80% become the mask token, 10% a random token of the vocabulary that is not
    special, and 10% stay; each is decided on its own.

    With whole words, words are taken in random order until that many tokens are chosen, and always with all of their
    tokens. So the last one may go beyond it, by less than its own tokens; none is passed over for being long, as in
    BERT's code, which would leave short titles with their short words.

    Args:
        token_ids: `[batch, length]` int32.
        seed: `[2]` int32; the same seed chooses the same.
        masking: which of the vocabulary's tokens are special, and which begin a word.
        share: of a title's tokens, between 0 and 1.
        whole_words: whether a word's tokens are chosen together.

    Returns:
        The titles with tokens hidden, `[batch, length]` int32, and which are chosen, `[batch, length]` bool.

    Reference: Devlin et al., BERT (arXiv 1810.04805), section 3.1 and appendix A.1; whole words: Cui et al.,
    Pre-Training with Whole Word Masking for Chinese BERT (arXiv 1906.08101).
    """
    choice_seed, kind_seed, token_seed = tf.unstack(tf.random.split(seed, 3))
    maskable = tf.reduce_all(token_ids[:, :, tf.newaxis] != tf.constant(masking.special_ids, token_ids.dtype), axis=-1)
    starts = tf.gather(tf.constant(masking.word_starts), token_ids) if whole_words else tf.ones_like(maskable)
    chosen = _choose(_words(starts), maskable, choice_seed, share)
    kind = tf.random.stateless_uniform(tf.shape(token_ids), kind_seed)
    hidden = tf.where(chosen & (kind < _MASKED), masking.mask_id, token_ids)
    replaced = chosen & (kind >= 1.0 - _REPLACED)
    return tf.where(replaced, _random_tokens(tf.shape(token_ids), token_seed, masking), hidden), chosen


def _words(starts: tf.Tensor) -> tf.Tensor:
    """`[batch, length]` int32, the number of each token's word; the first token is in number 0 in any case."""
    return tf.cumsum(tf.pad(tf.cast(starts[:, 1:], tf.int32), [[0, 0], [1, 0]]), axis=1)


def _choose(words: tf.Tensor, maskable: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """`[batch, length]` bool: words in random order, as long as the tokens of those before them are too few."""
    count = tf.reduce_sum(tf.cast(maskable, tf.int32), axis=1, keepdims=True)
    # float64: in float32, 15% of 190 tokens are more than 28.5.
    wanted = tf.maximum(1, tf.cast(tf.round(share * tf.cast(count, tf.float64)), tf.int32))  # [batch, 1]
    # Ranks, not the random numbers themselves: two of those may be equal.
    ranks = tf.argsort(tf.argsort(tf.random.stateless_uniform(tf.shape(words), seed), axis=1), axis=1)
    ranks = tf.gather(ranks, words, batch_dims=1)  # of each token's word
    earlier = maskable[:, tf.newaxis] & (ranks[:, tf.newaxis] < ranks[:, :, tf.newaxis])  # [batch, length, length]
    return maskable & (tf.reduce_sum(tf.cast(earlier, tf.int32), axis=-1) < wanted)


def _random_tokens(shape: tf.Tensor, seed: tf.Tensor, masking: Masking) -> tf.Tensor:
    """Tokens that are not special, int32, each with the same probability."""
    vocabulary_size, special = len(masking.word_starts), np.array(masking.special_ids)
    numbers = tf.random.stateless_uniform(shape, seed, 0, vocabulary_size - len(special), tf.int32)
    # The n-th token that is not special is n plus the special ones before it.
    passed = special - np.arange(len(special))
    return numbers + tf.reduce_sum(tf.cast(numbers[..., tf.newaxis] >= passed, tf.int32), axis=-1)
