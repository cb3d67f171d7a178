"""BERT's WordPiece."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import keras_nlp
import tensorflow as tf

_VOCABULARY, _OPTIONS = "vocab.txt", "tokenizer_config.json"
# What BERT makes one space, and what it removes, as RE2 says it. keras-nlp only knows ASCII's spaces and splits words
# where there is a soft hyphen or a zero-width space.
_SPACE, _NO_TEXT = r"[\pZ\t\n\r]", r"[\p{Cc}\p{Cf}\p{Co}\x{FFFD}]"
_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class WordPiece:
    """`[CLS] title [SEP]`, padded with `[PAD]`.

    Args:
        files: `vocab.txt`, one piece per line, and `tokenizer_config.json`, whose `do_lower_case` (default true) and
            `strip_accents` (default as the former) count, as in transformers.

    Raises:
        FileNotFoundError: there is no vocabulary.

    Reference: Devlin et al., BERT (arXiv 1810.04805).
    """

    def __init__(self, files: Mapping[str, bytes]):
        if _VOCABULARY not in files:
            raise FileNotFoundError(f"a WordPiece tokeniser needs {_VOCABULARY}.")
        self.files = {name: files[name] for name in (_VOCABULARY, _OPTIONS) if name in files}
        options = json.loads(files.get(_OPTIONS, b"{}"))
        # Not splitlines: a piece may be one of the rarer characters that it takes for line ends.
        vocabulary = files[_VOCABULARY].decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
        self.vocabulary_size = len(vocabulary)
        self._lowercase = options.get("do_lower_case", True)
        strip_accents = options.get("strip_accents")
        if strip_accents is None:
            strip_accents = self._lowercase
        # Case is left to `tokenize`: the library's way folds it, which makes ss of a German sharp s.
        self._pieces = keras_nlp.models.BertTokenizer(vocabulary, lowercase=False, strip_accents=strip_accents)

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
