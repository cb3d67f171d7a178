"""BERT's WordPiece."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras_nlp
import numpy as np
import tensorflow as tf

from mim_tf.encoders.tokenizers.tokenizer import Masking

_VOCABULARY, _OPTIONS, _WHOLE = "vocab.txt", "tokenizer_config.json", "tokenizer.json"
# What BERT makes one space, and what it removes, as RE2 says it. keras-nlp only knows ASCII's spaces and splits words
# where there is a soft hyphen or a zero-width space.
_SPACE, _NO_TEXT = r"[\pZ\t\n\r]", r"[\p{Cc}\p{Cf}\p{Co}\x{FFFD}]"
_UNKNOWN, _MASK = "[UNK]", "[MASK]"
_SPECIAL_TOKENS = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", _MASK)
_CONTINUING = "##"  # before a piece inside a word
# What `tokenizer.json` has to say for titles to become pieces as BERT's do.
_FIXED: dict[str, dict[str, Any]] = {
    "model": {"type": "WordPiece", "unk_token": _UNKNOWN, "continuing_subword_prefix": _CONTINUING},
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
}


class WordPiece:
    """`[CLS] title [SEP]`, padded with `[PAD]`.

    Args:
        files: `vocab.txt`, one piece per line, and `tokenizer_config.json`, whose `do_lower_case` (default true) and
            `strip_accents` (default as the former) count; or, where there is no `vocab.txt`, `tokenizer.json`, whose
            vocabulary and normaliser count, and nothing else does.

    Raises:
        FileNotFoundError: there is no vocabulary.
        ValueError: no JSON, another kind of tokeniser, or a vocabulary with gaps, doubles or special tokens missing.

    Reference: Devlin et al., BERT (arXiv 1810.04805).
    """

    def __init__(self, files: Mapping[str, bytes]):
        names = (_VOCABULARY, _OPTIONS) if _VOCABULARY in files else (_WHOLE,)
        self.files = {name: files[name] for name in names if name in files}
        read = _read(self.files)
        self.vocabulary_size = len(read.vocabulary)
        self._lowercase = read.lowercase
        self.masking: Masking | None = _masking(read.vocabulary)
        strip_accents = read.lowercase if read.strip_accents is None else read.strip_accents
        # Case is left to `tokenize`: the library's way folds it, which makes ss of a German sharp s.
        self._pieces = keras_nlp.models.BertTokenizer(read.vocabulary, lowercase=False, strip_accents=strip_accents)

    def tokenize(self, titles: tf.Tensor, length: int) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32."""
        pieces = self._pieces
        clean = _clean(titles)
        cased = tf.strings.lower(clean, encoding="utf-8") if self._lowercase else clean
        frame = keras_nlp.layers.StartEndPacker(
            sequence_length=length,
            start_value=pieces.cls_token_id,
            end_value=pieces.sep_token_id,
            pad_value=pieces.pad_token_id,
        )
        return frame(pieces(cased))

    def mask(self, token_ids: tf.Tensor) -> tf.Tensor:
        """`[batch, length]` bool: false where there is padding."""
        return tf.not_equal(token_ids, self._pieces.pad_token_id)


class _WordPieces(NamedTuple):
    """What the files say; accents go with the case where `strip_accents` is none."""

    vocabulary: Sequence[str]
    lowercase: bool
    strip_accents: bool | None


def _masking(vocabulary: Sequence[str]) -> Masking:
    special = (vocabulary.index(token) for token in _SPECIAL_TOKENS if token != _UNKNOWN)
    starts = np.array([not piece.startswith(_CONTINUING) for piece in vocabulary])
    return Masking(vocabulary.index(_MASK), tuple(sorted(special)), starts)


def _read(files: Mapping[str, bytes]) -> _WordPieces:
    if _VOCABULARY in files:
        name, read = _VOCABULARY, _of_lines(files)
    elif _WHOLE in files:
        name, read = _WHOLE, _of_whole(_json(files, _WHOLE))
    else:
        raise FileNotFoundError(f"a WordPiece tokeniser needs {_VOCABULARY} or {_WHOLE}.")
    missing = [token for token in _SPECIAL_TOKENS if token not in read.vocabulary]
    if missing:
        raise ValueError(f"the vocabulary in {name} must have {', '.join(_SPECIAL_TOKENS)}. Missing: {missing}.")
    return read


def _of_lines(files: Mapping[str, bytes]) -> _WordPieces:
    # Not splitlines: a piece may be one of the rarer characters that it takes for line ends.
    vocabulary = files[_VOCABULARY].decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
    twice = [piece for piece, count in Counter(vocabulary).items() if count > 1]
    if twice:
        raise ValueError(f"{_VOCABULARY} must have every piece once. Received more often: {twice[:5]}.")
    options = _json(files, _OPTIONS) if _OPTIONS in files else {}
    return _WordPieces(vocabulary, options.get("do_lower_case", True), options.get("strip_accents"))


def _of_whole(content: Mapping[str, Any]) -> _WordPieces:
    for place, fixed in _FIXED.items():
        part = content.get(place)
        for key, value in fixed.items():
            _must_be(f"{place}.{key}", part.get(key) if isinstance(part, dict) else None, (value,))
    normalizer = content["normalizer"]
    lowercase, strip_accents = normalizer.get("lowercase"), normalizer.get("strip_accents")
    _must_be("normalizer.lowercase", lowercase, (True, False))
    _must_be("normalizer.strip_accents", strip_accents, (True, False, None))
    return _WordPieces(_by_id(content["model"].get("vocab")), lowercase, strip_accents)


def _must_be(name: str, received: Any, allowed: Sequence[Any]) -> None:
    if received not in allowed:
        known = " or ".join(json.dumps(value) for value in allowed)
        raise ValueError(f"`{name}` in {_WHOLE} must be {known}. Received: {json.dumps(received)[:100]}.")


def _by_id(token_ids: Any) -> list[str]:
    """The pieces of `{piece: token id}`, the lowest id first."""
    if not isinstance(token_ids, dict):
        raise ValueError(f"`model.vocab` in {_WHOLE} must be an object. Received: {type(token_ids).__name__}.")
    pieces = {token: piece for piece, token in token_ids.items() if isinstance(token, int)}
    if pieces.keys() != set(range(len(token_ids))):
        raise ValueError(
            f"`model.vocab` in {_WHOLE} must have every token id from 0 on once, without gaps. "
            f"Received: {len(token_ids)} pieces, {len(pieces)} different ids up to {max(pieces, default=None)}."
        )
    return [pieces[token] for token in range(len(pieces))]


def _json(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        content = json.loads(files[name])
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} must hold an object. Received: {type(content).__name__}.")
    return content


def _clean(titles: tf.Tensor) -> tf.Tensor:
    """Strings with all kinds of spaces made one and characters that are not seen removed."""
    return tf.strings.regex_replace(tf.strings.regex_replace(titles, _SPACE, " "), _NO_TEXT, "")


def learn_vocabulary(titles: tf.data.Dataset, size: int = 8192) -> list[str]:
    """A WordPiece vocabulary of at most `size` pieces, learnt from a dataset of scalar title strings."""
    vocabulary: list[str] = keras_nlp.tokenizers.compute_word_piece_vocabulary(
        titles.batch(1024).map(lambda batch: tf.strings.lower(_clean(batch), encoding="utf-8")),
        vocabulary_size=size,
        reserved_tokens=list(_SPECIAL_TOKENS),
        lowercase=False,
        strip_accents=True,
    )
    return vocabulary


def vocabulary_files(vocabulary: Sequence[str], lowercase: bool = True) -> dict[str, bytes]:
    """A vocabulary as the files of a `WordPiece`."""
    options = json.dumps({"do_lower_case": lowercase})
    return {_VOCABULARY: ("\n".join(vocabulary) + "\n").encode(), _OPTIONS: options.encode()}
