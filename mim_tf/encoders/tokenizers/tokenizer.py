"""What every tokeniser offers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

# All that tokenisers are made of, in the folders of transformers, torchscale and ours.
_FILES = (
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
    *("sentencepiece.bpe.model", "beit3.spm"),
)


@dataclass(frozen=True)
class Masking:
    """What masked language modelling has to know of a vocabulary.

    Attributes:
        mask_id: the token that stands where one is to be predicted.
        special_ids: tokens that are no part of a title, ascending: frame, padding and mask. The unknown token is none.
        word_starts: `[vocabulary_size]` bool, tokens that begin a word.
    """

    mask_id: int
    special_ids: tuple[int, ...]
    word_starts: np.ndarray


class Tokenizer(Protocol):
    """Titles to token ids and back to what of them is title.

    Attributes:
        vocabulary_size: how many token ids there are.
        files: the tokeniser as files, name to content: what it was made from and can be made from again.
        masking: None where the vocabulary has no mask token.
    """

    vocabulary_size: int
    files: dict[str, bytes]
    masking: Masking | None

    def tokenize(self, titles: tf.Tensor, length: int) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32, framed as the model wants it, cut off or padded at the end."""

    def mask(self, token_ids: tf.Tensor) -> tf.Tensor:
        """`[batch, length]` bool: false where there is padding. No row is false everywhere."""


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The tokeniser's files in a folder, name to content; other files are left alone."""
    return {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
