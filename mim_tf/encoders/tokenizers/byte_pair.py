"""Byte-level byte pairs, as GPT-2, Llama 3 and Qwen3 have them."""

from __future__ import annotations

from collections.abc import Mapping

import keras_nlp
import tensorflow as tf
import tensorflow_text as tf_text

from mim_tf.encoders.tokenizers.byte_pair_files import WordRules, files_of, read_byte_pairs
from mim_tf.encoders.tokenizers.byte_pair_merges import BytePairMerges
from mim_tf.encoders.tokenizers.tokenizer import Masking


class BytePair(tf.Module):
    """`title <end>`, padded with `<end>`; some models want `<begin>` before it.

    The title is cut off, its end token never: a causal model's last token, which stands for the title, sees all of it.
    What looks like a special token in a title is text. A module, because a SavedModel keeps the pieces as a resource
    that something must own.

    Args:
        files: `tokenizer.json`, or `vocab.json` and `merges.txt`, with `tokenizer_config.json` where the special
            tokens are not in the vocabulary.
        rules: how titles become words, where the files do not tell.
        end: the token after a title.
        begin: the token before a title, if there is one.

    Raises:
        FileNotFoundError: files are missing.
        ValueError: another kind of tokeniser, or one without these special tokens.

    Reference: Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.2.
    """

    def __init__(self, files: Mapping[str, bytes], *, rules: WordRules, end: str, begin: str | None = None):
        super().__init__()
        self.files: Mapping[str, bytes] = files_of(files)
        pairs = read_byte_pairs(files, rules)
        token_ids = {**pairs.vocabulary, **pairs.special_tokens}
        missing = [token for token in (begin, end) if token is not None and token not in token_ids]
        if missing:
            raise ValueError(f"the tokeniser's files must have the tokens {begin} and {end}. Missing: {missing}.")
        self.vocabulary_size = max(token_ids.values()) + 1
        self.masking: Masking | None = None
        self._begin = None if begin is None else token_ids[begin]
        self._end = token_ids[end]
        self._rules = pairs.rules
        self._merges = BytePairMerges(pairs.vocabulary, pairs.merges, pairs.rules.whole_words)

    def tokenize(self, titles: tf.Tensor, length: int) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32."""
        composed = tf_text.normalize_utf8(titles, "NFC") if self._rules.composed else titles
        words = self._rules.pattern.words(composed)[:, :length]  # each becomes one token at least
        distinct, places = tf.unique(words.values)
        pieces = words.with_values(tf.gather(self._merges(distinct), places)).merge_dims(1, 2)
        frame = keras_nlp.layers.StartEndPacker(
            sequence_length=length, start_value=self._begin, end_value=self._end, pad_value=self._end
        )
        return frame(pieces)

    def mask(self, token_ids: tf.Tensor) -> tf.Tensor:
        """`[batch, length]` bool: true up to and with the first end token."""
        ends = tf.cast(tf.equal(token_ids, self._end), tf.int32)
        return tf.equal(tf.cumsum(ends, axis=1, exclusive=True), 0)
