"""Words against Hugging Face's tokenizers library, which runs the published patterns as they are."""

import random

import pytest
import tensorflow as tf
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

from mim_tf.encoders.tokenizers.word_pattern import GPT2_WORDS, LLAMA3_WORDS, QWEN_WORDS, WORD_PATTERNS

LETTERS = ["a", "B", "é", "e\u0301", "ſ", "手", "机", "Я", "ß", "\u0600", "'s", "'LL", "'", "don't", "६"]
DIGITS = ["1", "23", "4567", "½", "Ⅻ", "٣", "１"]
SIGNS = [".", "!?", "-", "—", "€", "👗", "👩\u200d👧", "<|endoftext|>", "\x00", "\\1"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\v", "\f", "\x1c", "\x85", "\xa0", "\u2003", "\u3000"]


def random_title() -> str:
    parts = random.choices(LETTERS + DIGITS + SIGNS, k=6) + random.choices(SPACES, k=random.randint(0, 8))
    random.shuffle(parts)
    return "".join(parts)


@pytest.mark.parametrize("published", WORD_PATTERNS)
def test_titles_are_cut_where_the_published_pattern_cuts_them(published: str) -> None:
    random.seed(0)
    titles = ["", " ", "a  ", "  a", *(random_title() for _ in range(3000))]
    reference = Split(Regex(published), behavior="isolated")
    words = tf.function(WORD_PATTERNS[published].words)(tf.constant(titles)).to_list()
    for title, ours in zip(titles, words, strict=True):
        assert [word.decode() for word in ours] == [word for word, _ in reference.pre_tokenize_str(title)], repr(title)


def test_the_patterns_differ_in_digits_spaces_and_the_case_of_contractions() -> None:
    cut = {
        pattern: pattern.words(tf.constant(["I'LL 1234\tx"])).to_list()[0]
        for pattern in (GPT2_WORDS, LLAMA3_WORDS, QWEN_WORDS)
    }
    assert cut[GPT2_WORDS] == [b"I", b"'", b"LL", b" 1234", b"\t", b"x"]
    assert cut[LLAMA3_WORDS] == [b"I", b"'LL", b" ", b"123", b"4", b"\tx"]
    assert cut[QWEN_WORDS] == [b"I", b"'LL", b" ", b"1", b"2", b"3", b"4", b"\tx"]


def test_the_noncharacter_that_marks_cuts_is_dropped() -> None:
    assert GPT2_WORDS.words(tf.constant(["red\ufdd0dress"])).to_list() == [[b"red", b"dress"]]
