"""The tokeniser files of every text family's toy, name to content: as small as they can be."""

import functools
import io
from collections.abc import Callable

import sentencepiece

from mim_tf.encoders import vocabulary_files
from mim_tf.encoders.tokenizers import byte_pair_files
from mim_tf.encoders.tokenizers.byte_pair_merges import byte_characters

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

TITLES = (
    "red summer dress, size M",
    "blue shirt for men, size L",
    "Crème brûlée – naïve café №5",
    "手机壳 iPhone 15 红色",
    "Привет мир, Straße, ΑΒΓ",
)


@functools.cache
def sentence_piece_model() -> bytes:
    """A SentencePiece model with XLM-RoBERTa's settings, a hundred pieces; unseen characters are unknown."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TITLES * 10),
        model_writer=model,
        model_type="unigram",
        vocab_size=120,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        byte_fallback=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def byte_pair_vocabulary(*special_tokens: str) -> tuple[dict[str, int], list[str]]:
    """All bytes, the piece of a single merge, and special tokens; and that merge."""
    pieces = [*byte_characters(), "re", *special_tokens]
    return {piece: token for token, piece in enumerate(pieces)}, ["r e"]


TOKENIZER_FILES: dict[str, Callable[[], dict[str, bytes]]] = {
    "bert": lambda: vocabulary_files([*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz", "red", "dress"]),
    "bge": lambda: vocabulary_files([*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz", "red", "dress"]),
    "beit3": lambda: {"beit3.spm": sentence_piece_model()},
    "gpt2": lambda: byte_pair_files(*byte_pair_vocabulary("<|endoftext|>")),
    "llama": lambda: byte_pair_files(*byte_pair_vocabulary("<|begin_of_text|>", "<|end_of_text|>")),
    "qwen3": lambda: byte_pair_files(*byte_pair_vocabulary("<|endoftext|>")),
    "xlm_roberta": lambda: {"sentencepiece.bpe.model": sentence_piece_model()},
}


def tokenizer_files(family: str) -> dict[str, bytes]:
    """The files that the toy of a text family is made with."""
    return TOKENIZER_FILES[family]()
