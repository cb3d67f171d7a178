"""SentencePiece, numbered as XLM-RoBERTa and BEiT-3 do it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import keras_nlp
import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from mim_tf.encoders.tokenizers.tokenizer import Masking

_MODELS = ("sentencepiece.bpe.model", "beit3.spm")
_START, _PADDING, _END, _UNKNOWN = 0, 1, 2, 3  # fairseq's; its <mask> comes after all pieces
_FIRST_PIECES = ["<unk>", "<s>", "</s>"]  # SentencePiece's, the only ones that fairseq gives another place
# SentencePiece writes a space as ▁. Kana and Chinese characters, between which there are none, are words as BERT's are.
_WORD_START = re.compile("[▁\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class SentencePiece:
    """`<s> title </s>`, padded with `<pad>`.

    The numbers are fairseq's: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, all other pieces one more than in the file, and
    `<mask>` last. What looks like a special token in a title is text.

    Args:
        files: `sentencepiece.bpe.model`, as XLM-RoBERTa has it, or `beit3.spm`.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: the file is no SentencePiece model, or one that does not begin with `<unk>`, `<s>` and `</s>`.

    Reference: Kudo & Richardson, SentencePiece (arXiv 1808.06226); Conneau et al., XLM-R (arXiv 1911.02116).
    """

    def __init__(self, files: Mapping[str, bytes]):
        name = next((name for name in _MODELS if name in files), None)
        if name is None:
            raise FileNotFoundError(
                f"a SentencePiece tokeniser needs {' or '.join(_MODELS)}. Add the one that the model was published "
                "with; tokenizer.json alone is not read."
            )
        model = files[name]
        self.files = {name: model}
        try:
            pieces = tf_text.SentencepieceTokenizer(model)
            written = [piece.decode() for piece in pieces.id_to_string(tf.range(pieces.vocab_size())).numpy()]
        except tf.errors.OpError as error:
            raise ValueError(f"{name} must be a whole SentencePiece model. Copy it again.") from error
        first = written[: len(_FIRST_PIECES)]
        if first != _FIRST_PIECES:
            raise ValueError(f"{name} must begin with {', '.join(_FIRST_PIECES)}. Received: {', '.join(first)}.")
        self.vocabulary_size = len(written) + 2  # <pad> and <mask>
        self.masking: Masking | None = _masking(written)
        # The model is made inside the graph, which then owns it. Made outside, it is gone after a new random seed, and
        # a SavedModel would have to track it.
        self._pieces = tf.function(
            lambda titles: tf_text.SentencepieceTokenizer(model).tokenize(titles),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )

    def tokenize(self, titles: tf.Tensor, length: int) -> tf.Tensor:
        """`[batch]` strings to `[batch, length]` int32."""
        frame = keras_nlp.layers.StartEndPacker(
            sequence_length=length, start_value=_START, end_value=_END, pad_value=_PADDING
        )
        pieces = self._pieces(titles)  # ragged, [batch, (pieces)]
        return frame(tf.ragged.map_flat_values(lambda ids: tf.where(ids == 0, _UNKNOWN, ids + 1), pieces))

    def mask(self, token_ids: tf.Tensor) -> tf.Tensor:
        """`[batch, length]` bool: false where there is padding."""
        return tf.not_equal(token_ids, _PADDING)


def _masking(pieces: Sequence[str]) -> Masking:
    """Of the pieces in the file's order."""
    mask_id = len(pieces) + 1
    starts = [_WORD_START.match(piece) is not None for piece in pieces[len(_FIRST_PIECES) :]]
    # The frame, padding and <unk> come before all others; <unk> mostly follows a ▁ of its own.
    word_starts = np.array([*[False] * (_UNKNOWN + 1), *starts, False])
    return Masking(mask_id, (_START, _PADDING, _END, mask_id), word_starts)
