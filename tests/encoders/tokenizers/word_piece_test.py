"""WordPiece against ids by hand and against Hugging Face's tokenizers library."""

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import BertWordPieceTokenizer

from mim_tf.encoders.tokenizers import WordPiece, learn_vocabulary, vocabulary_files

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "Red", "dress", "##es", "creme", "crème", "straße"]
PIECES += ["strasse", "手", "机", "壳", "x", "-", "5", "##0", "don", "'", "t"]
TITLES = (
    "Red DRESSES x-5",
    "Crème creme CRÈME cre\u0301me",
    "Straße STRASSE",
    "手机壳x手",
    "",
    "  \t\n ",
    "don't 50 05",
    "red\u00a0dress\u3000x\u2009red",
    "emoji 👗 red\u200b dress cre\u00adme \ufffdx\x00-5",
    "red " * 40,
)


def words(title: str, length: int = 8, **options: bool | None) -> list[str]:
    """A title's pieces, padding left out."""
    tokenizer = WordPiece(vocabulary_files(PIECES) | {"tokenizer_config.json": json.dumps(options).encode()})
    (token_ids,) = tokenizer.tokenize(tf.constant([title]), length)
    return [PIECES[token_id] for token_id in token_ids if token_id != 0]


def test_titles_are_framed_cut_off_and_padded() -> None:
    token_ids = WordPiece(vocabulary_files(PIECES)).tokenize(tf.constant(["red dresses", "", "red " * 9]), 6)
    assert token_ids.dtype == tf.int32
    np.testing.assert_array_equal(token_ids, [[2, 5, 7, 8, 3, 0], [2, 3, 0, 0, 0, 0], [2, 5, 5, 5, 5, 3]])


def test_the_mask_leaves_out_padding_alone() -> None:
    tokenizer = WordPiece(vocabulary_files(PIECES))
    mask = tokenizer.mask(tokenizer.tokenize(tf.constant(["red", "", "blue"]), 4))
    np.testing.assert_array_equal(mask, [[True, True, True, False], [True, True, False, False], [True] * 3 + [False]])


@pytest.mark.parametrize(
    ("title", "options", "expected"),
    [
        ("Red Crème", {}, ["red", "creme"]),
        ("Red Crème", {"do_lower_case": True, "strip_accents": None}, ["red", "creme"]),
        ("Red crème", {"do_lower_case": False}, ["Red", "crème"]),
        ("Red crème", {"do_lower_case": False, "strip_accents": True}, ["Red", "creme"]),
        ("Red Crème", {"strip_accents": False}, ["red", "crème"]),
        ("STRASSE Straße", {}, ["strasse", "straße"]),  # lower case, not folded case
    ],
)
def test_case_and_accents_go_as_the_options_say(
    title: str, options: dict[str, bool | None], expected: list[str]
) -> None:
    assert words(title, **options) == ["[CLS]", *expected, "[SEP]"]


def test_chinese_characters_are_words_of_their_own() -> None:
    assert words("手机壳x") == ["[CLS]", "手", "机", "壳", "x", "[SEP]"]


def test_punctuation_is_split_off_and_unknown_words_are_one_piece() -> None:
    assert words("don't x-5 blue") == ["[CLS]", "don", "'", "t", "x", "-", "5", "[SEP]"]
    assert words("x-blue 50") == ["[CLS]", "x", "-", "[UNK]", "5", "##0", "[SEP]"]


@pytest.mark.parametrize("lowercase", [True, False])
def test_odd_titles_become_what_the_tokenizers_library_makes_of_them(lowercase: bool) -> None:
    reference = BertWordPieceTokenizer({piece: token for token, piece in enumerate(PIECES)}, lowercase=lowercase)
    reference.enable_truncation(12)
    reference.enable_padding(length=12)
    tokenizer = WordPiece(vocabulary_files(PIECES, lowercase))
    in_graph = tf.function(lambda titles: tokenizer.tokenize(titles, 12))(tf.constant(TITLES))
    for title, token_ids in zip(TITLES, in_graph.numpy(), strict=True):
        assert token_ids.tolist() == reference.encode(title).ids, title


def test_special_tokens_in_a_title_are_text() -> None:
    assert words("red [SEP] red") == ["[CLS]", "red", *["[UNK]"] * 3, "red", "[SEP]"]  # [ and sep and ]


def test_a_vocabulary_is_one_piece_per_line_whatever_the_lines_end_with() -> None:
    odd = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2028", "\x85", "red"]
    for ending in ("\n", "\r\n"):
        tokenizer = WordPiece({"vocab.txt": (ending.join(odd) + ending).encode()})
        assert tokenizer.vocabulary_size == 8
        np.testing.assert_array_equal(tokenizer.tokenize(tf.constant(["red"]), 3), [[2, 7, 3]])


def test_its_files_make_it_again() -> None:
    tokenizer = WordPiece(vocabulary_files(PIECES, lowercase=False) | {"tokenizer.json": b"{}"})
    assert sorted(tokenizer.files) == ["tokenizer_config.json", "vocab.txt"]
    again = WordPiece(tokenizer.files)
    titles = tf.constant(TITLES)
    np.testing.assert_array_equal(again.tokenize(titles, 9), tokenizer.tokenize(titles, 9))


def test_a_missing_vocabulary_is_told() -> None:
    with pytest.raises(FileNotFoundError, match=r"a WordPiece tokeniser needs vocab\.txt or tokenizer\.json"):
        WordPiece({"tokenizer_config.json": b"{}"})


def whole(
    model: dict[str, Any] | None = None, normalizer: dict[str, Any] | None = None, **changes: Any
) -> dict[str, bytes]:
    """`tokenizer.json` as transformers 5 writes it, alone and the highest id first."""
    vocabulary = {piece: token for token, piece in reversed(list(enumerate(PIECES)))}
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    pieces = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": vocabulary}
    content = {
        "normalizer": bert | {"strip_accents": None, "lowercase": True} | (normalizer or {}),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": pieces | (model or {}),
    }
    return {"tokenizer.json": json.dumps(content | changes).encode()}


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False, None])
def test_tokenizer_json_alone_does_what_the_tokenizers_library_makes_of_it(
    lowercase: bool, strip_accents: bool | None
) -> None:
    reference = BertWordPieceTokenizer(
        {piece: token for token, piece in enumerate(PIECES)}, lowercase=lowercase, strip_accents=strip_accents
    )
    reference.enable_truncation(12)
    reference.enable_padding(length=12)
    tokenizer = WordPiece({"tokenizer.json": reference.to_str().encode()})
    by_hand = WordPiece(whole(normalizer={"lowercase": lowercase, "strip_accents": strip_accents}))
    assert tokenizer.vocabulary_size == by_hand.vocabulary_size == len(PIECES)
    for title in TITLES:
        expected = [reference.encode(title).ids]
        np.testing.assert_array_equal(tokenizer.tokenize(tf.constant([title]), 12), expected, title)
        np.testing.assert_array_equal(by_hand.tokenize(tf.constant([title]), 12), expected, title)


def test_tokenizer_json_alone_makes_it_again() -> None:
    files = whole(normalizer={"lowercase": False})
    tokenizer = WordPiece(files | {"tokenizer_config.json": b'{"do_lower_case": true}', "merges.txt": b""})
    assert tokenizer.files == files
    token_ids = WordPiece(tokenizer.files).tokenize(tf.constant(["Red red"]), 4)
    np.testing.assert_array_equal(token_ids, [[2, 6, 5, 3]])


def test_vocab_txt_counts_before_tokenizer_json() -> None:
    tokenizer = WordPiece(whole(normalizer={"lowercase": False}) | {"vocab.txt": "\n".join(PIECES[:6]).encode()})
    assert list(tokenizer.files) == ["vocab.txt"]
    assert tokenizer.vocabulary_size == 6
    np.testing.assert_array_equal(tokenizer.tokenize(tf.constant(["RED"]), 3), [[2, 5, 3]])


def test_masking_knows_the_special_tokens_and_which_ones_begin_a_word() -> None:
    masking = WordPiece(vocabulary_files(PIECES)).masking
    assert masking is not None
    assert masking.mask_id == 4
    assert masking.special_ids == (0, 2, 3, 4)  # all of PIECES' first five but [UNK]
    assert {piece for piece, starts in zip(PIECES, masking.word_starts, strict=True) if not starts} == {"##es", "##0"}


def without(piece: str) -> dict[str, int]:
    return {other: token for token, other in enumerate(other for other in PIECES if other != piece)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer.json": b"{"}, r"^tokenizer\.json is not valid JSON"),
        ({"tokenizer.json": b"\xff"}, r"^tokenizer\.json is not valid JSON"),
        ({"tokenizer.json": b"[]"}, r"^tokenizer\.json must hold an object\. Received: list"),
        ({"tokenizer.json": b"{}"}, r'`model\.type` in tokenizer\.json must be "WordPiece"\. Received: null'),
        (whole(model={"type": "BPE"}), r'must be "WordPiece"\. Received: "BPE"'),
        (whole(model={"unk_token": "<unk>"}), r'`model\.unk_token` in tokenizer\.json .* Received: "<unk>"'),
        (whole(model={"continuing_subword_prefix": ""}), r"`model\.continuing_subword_prefix` in tokenizer\.json"),
        (whole(normalizer={"type": "Sequence"}), r'tokenizer\.json must be "BertNormalizer"\. Received: "Sequence"'),
        (
            {"tokenizer.json": whole()["tokenizer.json"].replace(b'"normalizer"', b'"none"')},
            r"`normalizer\.type` in tokenizer\.json must be .* Received: null",
        ),
        (whole(normalizer={"clean_text": False}), r"`normalizer\.clean_text` in tokenizer\.json must be true"),
        (whole(normalizer={"handle_chinese_chars": False}), r"`normalizer\.handle_chinese_chars` in tokenizer\.json"),
        (whole(normalizer={"lowercase": None}), r"`normalizer\.lowercase` in tokenizer\.json must be true or false"),
        (whole(normalizer={"strip_accents": "no"}), r'tokenizer\.json must be true or false or null\. Received: "no"'),
        (whole(pre_tokenizer={"type": "Whitespace"}), r'`pre_tokenizer\.type` in tokenizer\.json .* "Whitespace"'),
        (whole(model={"vocab": PIECES}), r"`model\.vocab` in tokenizer\.json must be an object\. Received: list"),
        (whole(model={"vocab": {"[PAD]": 0, "red": 2}}), r"`model\.vocab` in tokenizer\.json .* without gaps"),
        (whole(model={"vocab": {"[PAD]": 0, "red": 0}}), r"2 pieces, 1 different ids up to 0"),
        (whole(model={"vocab": {"[PAD]": "0"}}), r"1 pieces, 0 different ids up to None"),
        ({"vocab.txt": b"[PAD]\nred\ndress\nred\n"}, r"^vocab\.txt must have every piece once\. .*\['red'\]"),
        (vocabulary_files(PIECES) | {"tokenizer_config.json": b"{"}, r"^tokenizer_config\.json is not valid JSON"),
        (vocabulary_files(PIECES) | {"tokenizer_config.json": b"[]"}, r"^tokenizer_config\.json must hold an object"),
    ],
)
def test_other_files_are_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WordPiece(files)


@pytest.mark.parametrize("token", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
def test_a_vocabulary_without_a_special_token_is_refused(token: str) -> None:
    for name, files in (
        (r"vocab\.txt", vocabulary_files(list(without(token)))),
        (r"tokenizer\.json", whole(model={"vocab": without(token)})),
    ):
        with pytest.raises(ValueError, match=rf"the vocabulary in {name} .* Missing: \['\{token[:-1]}\]'\]"):
            WordPiece(files)


def test_a_learnt_vocabulary_keeps_frequent_words_whole() -> None:
    titles = tf.data.Dataset.from_tensor_slices(["Red dress", "red shirt", "blue crème"] * 20)
    vocabulary = learn_vocabulary(titles, size=200)
    assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {"red", "dress", "creme"} <= set(vocabulary)
    assert len(vocabulary) == len(set(vocabulary)) <= 200
