"""Titles to token ids, inside the TensorFlow graph."""

from mim_tf.encoders.tokenizers.byte_pair import BytePair
from mim_tf.encoders.tokenizers.byte_pair_files import WordRules, byte_files, byte_pair_files
from mim_tf.encoders.tokenizers.sentence_piece import SentencePiece
from mim_tf.encoders.tokenizers.tokenizer import Masking, Tokenizer, tokenizer_files
from mim_tf.encoders.tokenizers.word_pattern import GPT2_WORDS, LLAMA3_WORDS, QWEN_WORDS
from mim_tf.encoders.tokenizers.word_piece import WordPiece, learn_vocabulary, vocabulary_files

__all__ = [
    "GPT2_WORDS",
    "LLAMA3_WORDS",
    "QWEN_WORDS",
    "BytePair",
    "Masking",
    "SentencePiece",
    "Tokenizer",
    "WordPiece",
    "WordRules",
    "byte_files",
    "byte_pair_files",
    "learn_vocabulary",
    "tokenizer_files",
    "vocabulary_files",
]
