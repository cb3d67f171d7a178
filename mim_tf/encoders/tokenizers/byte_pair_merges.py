"""Byte pairs merged inside words, in the TensorFlow graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_NO_RANK = np.iinfo(np.int32).max
_ID_BITS = 21  # room for two million token ids in each half of a pair's key


def byte_characters() -> list[str]:
    """The character that stands for each of the 256 bytes in a vocabulary: printable ones for themselves.

    Reference: Radford et al., Language Models are Unsupervised Multitask Learners (2019), and their `encoder.py`.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


class BytePairMerges(tf.Module):
    """Words to pieces: as long as any two neighbours can be merged, those that were learnt first are, leftmost first.

    A module, because a SavedModel keeps the merges as a resource that something must own.

    Args:
        vocabulary: token ids of pieces, which are written in `byte_characters`.
        merges: pairs of pieces, the first learnt first.
        whole_words: take a word that is in the vocabulary as it is, even where merging would not lead there.

    Call arguments:
        words: `[words]` strings, none of them empty.

    Returns:
        `[words, (pieces)]` int32 token ids.

    Raises:
        ValueError: a byte, a piece or what a merge makes is not in the vocabulary.

    Reference: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], whole_words: bool):
        super().__init__()
        _check(vocabulary, merges)
        self._bytes = tf.constant([vocabulary[character] for character in byte_characters()], tf.int32)
        self._merged = tf.constant([vocabulary[left + right] for left, right in merges] or [0], tf.int32)
        ranks = {vocabulary[left] << _ID_BITS | vocabulary[right]: rank for rank, (left, right) in enumerate(merges)}
        self._ranks = _table(ranks or {-1: _NO_RANK}, tf.int64, _NO_RANK)
        self._words = _table(_words(vocabulary), tf.string, -1) if whole_words else None

    def __call__(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Merge each word's bytes; words of about the same length together, for a round costs what the longest does."""
        whole = self._words.lookup(words) if self._words else tf.fill(tf.shape(words), -1)
        lengths = tf.where(whole >= 0, 0, tf.strings.length(words))  # in bytes
        places = tf.where(lengths == 0)[:, 0]

        def merge_some(shorter: tf.Tensor, *done: tf.Tensor) -> tuple[tf.Tensor, ...]:
            longest = shorter + shorter // 2 + 4
            places = tf.where((lengths > shorter) & (lengths <= longest))[:, 0]
            merged = (places, *self._merge(tf.gather(words, places)))
            return longest, *(tf.concat(pair, axis=0) for pair in zip(done, merged, strict=True))

        any_number = tf.TensorShape([None])
        _, places, pieces, counts = tf.while_loop(
            lambda shorter, *_: shorter < tf.reduce_max(lengths),
            merge_some,
            (0, places, tf.gather(whole, places), tf.ones_like(places)),
            shape_invariants=(tf.TensorShape([]), any_number, any_number, any_number),
        )
        merged = tf.RaggedTensor.from_row_lengths(pieces, counts)
        return tf.gather(merged, tf.math.invert_permutation(places))

    def _merge(self, words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One pair of every word per round, until no pair is left that can be merged.

        Returns:
            `[pieces]` int32, all words' token ids; `[words]` int64, how many of them are each word's.
        """
        ids = self._byte_ids(words)
        ids, _ = tf.while_loop(
            lambda ids, ranks: tf.reduce_any(ranks < _NO_RANK),
            self._merge_once,
            (ids, self._pair_ranks(ids)),
            shape_invariants=(tf.TensorShape([None, None]), tf.TensorShape([None, None])),
        )
        used = ids >= 0
        return tf.boolean_mask(ids, used), tf.math.count_nonzero(used, axis=1)

    def _byte_ids(self, words: tf.Tensor) -> tf.Tensor:
        """`[words, length]` int32: the bytes' token ids, -1 after the word."""
        lengths = tf.strings.length(words)
        length = tf.maximum(tf.reduce_max(lengths), 1)
        values = tf.cast(tf.io.decode_raw(words, tf.uint8, fixed_length=length), tf.int32)
        return tf.where(tf.range(length) < lengths[:, tf.newaxis], tf.gather(self._bytes, values), -1)

    def _pair_ranks(self, ids: tf.Tensor) -> tf.Tensor:
        """`[words, length]` int32: when each piece's pair with the next one was learnt."""
        left = tf.cast(ids, tf.int64)
        right = _without_first(left)
        return self._ranks.lookup(left * 2**_ID_BITS + right)  # with -1 on the right: no pair's key

    def _merge_once(self, ids: tf.Tensor, ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rank = tf.reduce_min(ranks, axis=1, keepdims=True)
        found = rank < _NO_RANK
        place = tf.where(found, tf.argmin(ranks, axis=1, output_type=tf.int32)[:, tf.newaxis], tf.shape(ids)[1])
        merged = tf.gather(self._merged, tf.where(found, rank, 0))
        column = tf.range(tf.shape(ids)[1])
        ids = tf.where(column < place, ids, tf.where(column == place, merged, _without_first(ids)))
        is_used = tf.reduce_any(ids[:, -1] >= 0)
        ids = ids[:, : tf.shape(ids)[1] - tf.where(is_used, 0, 1)]  # the fewer columns, the faster the next round
        return ids, self._pair_ranks(ids)


def _without_first(ids: tf.Tensor) -> tf.Tensor:
    """Every row one place to the left."""
    return tf.pad(ids[:, 1:], [[0, 0], [0, 1]], constant_values=-1)


def _words(vocabulary: Mapping[str, int]) -> dict[bytes, int]:
    """The pieces as the bytes that they stand for."""
    byte = {character: bytes([index]) for index, character in enumerate(byte_characters())}
    return {
        b"".join(byte[character] for character in piece): token
        for piece, token in vocabulary.items()
        if byte.keys() >= set(piece)  # special tokens may have other characters
    }


def _table(content: Mapping[Any, int], key_dtype: tf.DType, default: int) -> tf.lookup.StaticHashTable:
    pairs = tf.lookup.KeyValueTensorInitializer(list(content), list(content.values()), key_dtype, tf.int32)
    return tf.lookup.StaticHashTable(pairs, default)


def _check(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    needed = [*byte_characters(), *(piece for left, right in merges for piece in (left, right, left + right))]
    missing = sorted({piece for piece in needed if piece not in vocabulary})
    if missing:
        raise ValueError(
            f"the vocabulary must have all 256 bytes and all pieces of the merges. Missing: {', '.join(missing[:20])}."
        )
