"""Titles to the words inside which byte pairs are merged."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

# RE2's \s is ASCII only; these are Unicode's white space, as the published patterns mean it.
_SPACES = r"\t\x{b}\x{c} \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_NEWLINES = r"\r\n"
_CUT = "\ufdd0"  # a noncharacter, which Unicode keeps for uses such as this one


@dataclass(frozen=True)
class WordPattern:
    r"""A published regular expression that cuts titles into words, in a form that TensorFlow's RE2 can run.

    All of them end in `\s+(?!\S)|\s+`: of several spaces the last one stays with the word that follows. RE2 cannot look
    ahead; so a cut is made before that last space first, and `\s+` does for both. A title's U+FDD0, which marks the
    cuts and is no character, is dropped. RE2 knows the letters and digits of Unicode 15.

    Attributes:
        published: the pattern as `tokenizer.json` has it.
    """

    published: str

    def words(self, titles: tf.Tensor) -> tf.RaggedTensor:
        """`[batch]` strings to `[batch, (words)]` strings, none of them empty; joined they are the title."""
        last = _SPACES if _NEWLINES in self.published else _SPACES + _NEWLINES  # a line's end is a word of its own
        spaces_before_a_word = f"([{_SPACES}{_NEWLINES}])([{last}][^{_SPACES}{_NEWLINES}])"
        cut = tf.strings.regex_replace(titles, spaces_before_a_word, rf"\1{_CUT}\2")
        # No group: with one, RE2 takes several times as long.
        words = tf.strings.split(tf.strings.regex_replace(cut, self._without_lookahead(), rf"\0{_CUT}"), _CUT)
        return tf.ragged.boolean_mask(words, tf.not_equal(words, ""))

    def _without_lookahead(self) -> str:
        pattern = self.published.replace(r"\s+(?!\S)|", "").replace("[^", f"[^{_CUT}")
        inside_brackets = pattern.replace(rf"[^{_CUT}\s", f"[^{_CUT}{_SPACES}{_NEWLINES}")
        return inside_brackets.replace(r"\s", f"[{_SPACES}{_NEWLINES}]")


def _of_cl100k(digits: str) -> WordPattern:
    r"""OpenAI's cl100k pattern but for how many digits make a word."""
    return WordPattern(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        rf"{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


GPT2_WORDS = WordPattern(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
LLAMA3_WORDS = _of_cl100k(r"\p{N}{1,3}")
QWEN_WORDS = _of_cl100k(r"\p{N}")
WORD_PATTERNS = {pattern.published: pattern for pattern in (GPT2_WORDS, LLAMA3_WORDS, QWEN_WORDS)}
