"""What every tokeniser offers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import tensorflow as tf

# All that tokenisers are made of, in the folders of transformers, torchscale and ours.
_FILES = (
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
    *("sentencepiece.bpe.model", "beit3.spm"),
)


class Tokenizer(Protocol):
    """Titles to token ids and back to what of them is title.

    Attributes:
        vocabulary_size: how many token ids there are.
        files: the tokeniser as files, name to content: what it was made from and can be made from again.
    """

    vocabulary_size: int
    files: dict[str, bytes]

    def tokenize(self, titles: tf.Tensor, length: int) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32, framed as the model wants it, cut off or padded at the end."""

    def mask(self, token_ids: tf.Tensor) -> tf.Tensor:
        """`[batch, length]` bool: false where there is padding. No row is false everywhere."""


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The tokeniser's files in a folder, name to content; other files are left alone."""
    return {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
