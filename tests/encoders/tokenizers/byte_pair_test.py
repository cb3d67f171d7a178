"""Byte pairs against ids by hand and against Hugging Face's tokenizers library."""

import json
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from mim_tf.encoders.tokenizers import GPT2_WORDS, LLAMA3_WORDS, QWEN_WORDS, BytePair, WordRules, byte_pair_files
from mim_tf.encoders.tokenizers.byte_pair_merges import byte_characters

END, BEGIN = "<end>", "<begin>"
TITLES = ("red dress", "the reddest dresses 12345", "手机壳 手机", "naïve cafe\u0301 👗", "don't WE'LL", "a\n\n b\t c ")
# The bytes' token ids are the bytes; each merge makes the next piece.
PIECES = [*byte_characters(), "re", "red", "Ġred", END, BEGIN]
MERGES = ["r e", "re d", "Ġ red"]
FILES = byte_pair_files({piece: token for token, piece in enumerate(PIECES)}, MERGES)
RE, RED, SPACE_RED, THE_END, THE_BEGIN, X = 256, 257, 258, 259, 260, ord("x")


def hand_made(**changes: Any) -> BytePair:
    return BytePair(**{"files": FILES, "rules": WordRules(GPT2_WORDS), "end": END, **changes})


def test_titles_are_merged_framed_cut_off_and_padded() -> None:
    token_ids = hand_made().tokenize(tf.constant(["red red", "", "rex", "x" * 9]), 5)
    assert token_ids.dtype == tf.int32
    expected = [[RED, SPACE_RED, *[THE_END] * 3], [THE_END] * 5, [RE, X, *[THE_END] * 3], [X, X, X, X, THE_END]]
    np.testing.assert_array_equal(token_ids, expected)


def test_a_begin_token_comes_before_the_title_where_the_model_wants_one() -> None:
    token_ids = hand_made(begin=BEGIN).tokenize(tf.constant(["red", "red red red"]), 4)
    expected = [[THE_BEGIN, RED, THE_END, THE_END], [THE_BEGIN, RED, SPACE_RED, THE_END]]
    np.testing.assert_array_equal(token_ids, expected)


def test_the_mask_ends_with_the_first_end_token() -> None:
    tokenizer = hand_made()
    mask = tokenizer.mask(tokenizer.tokenize(tf.constant(["red", "", "red red red"]), 3))
    np.testing.assert_array_equal(mask, [[True, True, False], [True, False, False], [True, True, True]])


def test_pairs_learnt_first_are_merged_first_and_leftmost_first() -> None:
    vocabulary = {piece: token for token, piece in enumerate([*byte_characters(), "aa", "ba", "aab", END])}
    tokenizer = hand_made(files=byte_pair_files(vocabulary, ["b a", "a a", "aa b"]))
    # aaa: the left pair. aaba: ba comes before aa, so that aab never comes about.
    token_ids = tokenizer.tokenize(tf.constant(["aaa", "aaba"]), 3)
    np.testing.assert_array_equal(token_ids, [[256, vocabulary["a"], 259], [256, 257, 259]])


def test_a_special_token_in_a_title_is_text() -> None:
    tokenizer = hand_made()
    token_ids = tokenizer.tokenize(tf.constant([END]), 8)
    assert (token_ids.numpy() == THE_END).tolist() == [[False] * 5 + [True] * 3]  # the five bytes of <end>


def test_there_is_no_mask_token() -> None:
    assert hand_made().masking is None


def learn(pre_tokenizer: Any, normalizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator(TITLES * 2, trainer)
    tokenizer.add_special_tokens([END])
    return tokenizer


def split(pattern: str) -> Any:
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), to_bytes])


KINDS = {
    "gpt2": (pre_tokenizers.ByteLevel(add_prefix_space=False), None),
    "llama3": (split(LLAMA3_WORDS.published), None),
    "qwen": (split(QWEN_WORDS.published), normalizers.NFC()),
}


@pytest.mark.parametrize(("kind", "whole_words"), [("gpt2", False), ("llama3", True), ("qwen", False)])
def test_titles_become_what_the_tokenizers_library_makes_of_them(kind: str, whole_words: bool) -> None:
    random.seed(0)
    content = json.loads(learn(*KINDS[kind]).to_str())
    content["model"]["ignore_merges"] = whole_words
    content["model"]["vocab"]["unreachable"] = content["added_tokens"][0]["id"]
    content["added_tokens"][0]["id"] += 1
    reference = Tokenizer.from_str(json.dumps(content))
    words = [*" ".join(TITLES).split(" "), "unreachable", "cafés", "手" * 30, "\u3000", "99", "éé", ""]
    titles = [*TITLES, "", "x" * 300, *(" ".join(random.choices(words, k=6)) for _ in range(500))]
    # The pattern, normalisation and whole words come from the file, whatever the family's own rules are.
    tokenizer = hand_made(files={"tokenizer.json": json.dumps(content).encode()})
    assert tokenizer.vocabulary_size == reference.get_vocab_size()
    (end,) = reference.encode(END).ids
    rows = tf.data.Dataset.from_tensor_slices(titles).batch(100).map(lambda batch: tokenizer.tokenize(batch, 64))
    for title, row in zip(titles, rows.unbatch(), strict=True):
        expected = [*reference.encode(title).ids[:63], end]
        assert row.numpy().tolist() == expected + [end] * (64 - len(expected)), repr(title)


def test_older_files_say_the_same_by_the_familys_rules() -> None:
    whole = learn(*KINDS["qwen"])
    content = json.loads(whole.to_str())
    options = {"added_tokens_decoder": {str(whole.token_to_id(END)): {"content": END}}, "add_prefix_space": False}
    merges = [" ".join(merge) for merge in content["model"]["merges"]]
    older = byte_pair_files(content["model"]["vocab"], merges) | {"tokenizer_config.json": json.dumps(options).encode()}
    titles = tf.constant(TITLES)
    expected = hand_made(files={"tokenizer.json": whole.to_str().encode()}).tokenize(titles, 32)
    tokenizer = BytePair(older, rules=WordRules(QWEN_WORDS, composed=True), end=END)
    np.testing.assert_array_equal(tokenizer.tokenize(titles, 32), expected)
    np.testing.assert_array_equal(  # and from its own files
        BytePair(tokenizer.files, rules=WordRules(QWEN_WORDS, composed=True), end=END).tokenize(titles, 32), expected
    )


def whole_file(**changes: Any) -> dict[str, bytes]:
    content = json.loads(learn(*KINDS["gpt2"]).to_str())
    content["model"] |= changes.pop("model", {})
    return {"tokenizer.json": json.dumps(content | changes).encode()}


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, FileNotFoundError, r"needs tokenizer\.json, or vocab\.json and merges\.txt"),
        ({"tokenizer.json": b"{"}, ValueError, r"tokenizer\.json is not valid JSON"),
        ({"tokenizer.json": b"{}"}, ValueError, r"tokenizer\.json must have 'model'"),
        (FILES | {"tokenizer_config.json": b'{"add_prefix_space": true}'}, ValueError, r"`add_prefix_space`.*be false"),
        (byte_pair_files({"a": 0, END: 1}, []), ValueError, r"must have all 256 bytes.*Missing: !, \""),
        (FILES | {"merges.txt": b"r x\n"}, ValueError, r"all pieces of the merges\. Missing: rx\."),
        (FILES | {"merges.txt": b"r e d\n"}, ValueError, r"a merge must be of two pieces\. Received: 'r e d'"),
        (byte_pair_files({"a": 0}, []), ValueError, r"must have the tokens None and <end>\. Missing: \['<end>'\]"),
        (whole_file(model={"type": "Unigram"}), ValueError, r"`model`.* must be BPE\. Received: Unigram"),
        (whole_file(model={"byte_fallback": True}), ValueError, r"`byte_fallback`.* must be off\. Received: True"),
        (whole_file(normalizer={"type": "NFKC"}), ValueError, r"`normalizer`.* must be null or NFC\. Received: NFKC"),
        (whole_file(pre_tokenizer={"type": "Whitespace"}), ValueError, r"`pre_tokenizer`.*Received: .*Whitespace"),
    ],
)
def test_other_files_are_refused(files: dict[str, bytes], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hand_made(files=files)
