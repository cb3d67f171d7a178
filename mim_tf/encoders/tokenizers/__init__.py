"""Titles to token ids, inside the TensorFlow graph."""

from mim_tf.encoders.tokenizers.tokenizer import Tokenizer, tokenizer_files
from mim_tf.encoders.tokenizers.word_piece import WordPiece, learn_vocabulary, vocabulary_files

__all__ = ["Tokenizer", "WordPiece", "learn_vocabulary", "tokenizer_files", "vocabulary_files"]
