"""SentencePiece against the sentencepiece library itself, with fairseq's numbers worked out by hand."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from mim_tf.encoders.tokenizers import SentencePiece
from tests.encoders.toys import sentence_piece_model

LENGTH = 10
TITLES = (
    "red summer dress",
    "Crème brûlée – naïve café №5",
    "",
    " \t\n ",
    "  two  spaces\tand a tab ",
    "手机壳 iPhone 15 红色",
    "红色手机壳",
    "Привет, Straße ﬁ ① ½ ＡＢＣ",
    "emoji 👗 and 漢字 it never saw",
    "</s> <s> <unk> <mask> <pad>",
    "red\u00a0dress\u200b \ufeff\u3000x",
    "word " * 40,
)


@pytest.fixture(scope="module")
def tokenizer() -> SentencePiece:
    return SentencePiece({"sentencepiece.bpe.model": sentence_piece_model()})


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """`[titles, LENGTH]`: <s> 0, <pad> 1, </s> 2, <unk> 3 where the file has 0, and all others one more."""
    library = sentencepiece.SentencePieceProcessor(model_proto=sentence_piece_model())
    rows = []
    for title in TITLES:
        pieces = [3 if piece == 0 else piece + 1 for piece in library.encode(title)]
        row = [0, *pieces[: LENGTH - 2], 2]
        rows.append(row + [1] * (LENGTH - len(row)))
    return np.array(rows)


def test_titles_become_the_librarys_pieces_with_fairseqs_numbers(
    tokenizer: SentencePiece, expected: np.ndarray
) -> None:
    token_ids = tokenizer.tokenize(tf.constant(TITLES), LENGTH)
    assert token_ids.dtype == tf.int32
    for title, ours, theirs in zip(TITLES, token_ids.numpy(), expected, strict=True):
        assert ours.tolist() == theirs.tolist(), title


def test_every_title_is_framed_and_an_empty_one_is_nothing_but_its_frame(tokenizer: SentencePiece) -> None:
    empty, unknown, long = tokenizer.tokenize(tf.constant(["", "漢", "red " * 40]), 6).numpy().tolist()
    assert empty == [0, 2, 1, 1, 1, 1]
    assert unknown[-3:] == [2, 1, 1]
    assert 3 in unknown
    assert (long[0], long[-1]) == (0, 2)
    assert 1 not in long


def test_special_tokens_in_a_title_are_text(tokenizer: SentencePiece) -> None:
    token_ids = tokenizer.tokenize(tf.constant(["<s> </s> <pad> <mask>"]), 64)[0].numpy()
    inside = token_ids[1 : np.flatnonzero(token_ids == 2)[-1]]
    assert not {0, 1, 2, tokenizer.vocabulary_size - 1} & set(inside.tolist())


def test_the_mask_leaves_out_padding_alone(tokenizer: SentencePiece, expected: np.ndarray) -> None:
    mask = tokenizer.mask(tokenizer.tokenize(tf.constant(TITLES), LENGTH))
    np.testing.assert_array_equal(mask, expected != 1)
    assert mask.numpy().any(axis=1).all()


def test_the_vocabulary_has_padding_and_mask_beside_the_pieces(tokenizer: SentencePiece) -> None:
    library = sentencepiece.SentencePieceProcessor(model_proto=sentence_piece_model())
    assert tokenizer.vocabulary_size == library.vocab_size() + 2


def test_masking_knows_the_special_tokens_and_which_ones_begin_a_word(tokenizer: SentencePiece) -> None:
    masking = tokenizer.masking
    assert masking is not None
    assert masking.mask_id == tokenizer.vocabulary_size - 1
    assert masking.special_ids == (0, 1, 2, masking.mask_id)
    assert masking.word_starts.shape == (tokenizer.vocabulary_size,)
    library = sentencepiece.SentencePieceProcessor(model_proto=sentence_piece_model())
    starts = {library.id_to_piece(token - 1) for token in np.flatnonzero(masking.word_starts).tolist()}
    pieces = {library.id_to_piece(number) for number in range(library.vocab_size())}
    assert starts == {piece for piece in pieces if piece.startswith("▁")} | set("手机壳红色")
    assert {"▁s", "▁"} <= starts


def test_it_works_in_graphs_and_pipelines(tokenizer: SentencePiece, expected: np.ndarray) -> None:
    in_graph = tf.function(lambda titles: tokenizer.tokenize(titles, LENGTH))
    concrete = in_graph.get_concrete_function(tf.TensorSpec([None], tf.string))
    assert concrete.structured_outputs.shape.as_list() == [None, LENGTH]
    np.testing.assert_array_equal(in_graph(tf.constant(TITLES)), expected)
    np.testing.assert_array_equal(in_graph(tf.constant(TITLES[:1])), expected[:1])
    batches = tf.data.Dataset.from_tensor_slices(list(TITLES)).batch(5).map(in_graph)
    np.testing.assert_array_equal(np.concatenate(list(batches.as_numpy_iterator())), expected)


def test_a_new_random_seed_does_not_take_the_pieces_away(tokenizer: SentencePiece, expected: np.ndarray) -> None:
    in_graph = tf.function(lambda titles: tokenizer.tokenize(titles, LENGTH))
    in_graph(tf.constant(TITLES))
    tf.random.set_seed(1)  # clears TensorFlow's caches, which own resources that are made eagerly
    np.testing.assert_array_equal(tokenizer.tokenize(tf.constant(TITLES), LENGTH), expected)
    np.testing.assert_array_equal(in_graph(tf.constant(TITLES)), expected)


def test_beit3s_file_is_the_same_under_another_name(tokenizer: SentencePiece, expected: np.ndarray) -> None:
    beit3 = SentencePiece({"beit3.spm": sentence_piece_model()})
    np.testing.assert_array_equal(beit3.tokenize(tf.constant(TITLES), LENGTH), expected)
    assert dict(beit3.files) == {"beit3.spm": sentence_piece_model()}


def test_its_files_make_it_again(tokenizer: SentencePiece, expected: np.ndarray) -> None:
    again = SentencePiece(SentencePiece(dict(tokenizer.files) | {"tokenizer.json": b"{}"}).files)
    assert list(again.files) == ["sentencepiece.bpe.model"]
    np.testing.assert_array_equal(again.tokenize(tf.constant(TITLES), LENGTH), expected)


def test_a_saved_model_needs_none_of_our_code(tokenizer: SentencePiece, expected: np.ndarray, tmp_path: Path) -> None:
    module = tf.Module()
    module.tokenizer = tokenizer
    module.tokenize = tf.function(
        lambda titles: tokenizer.tokenize(titles, LENGTH), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    np.save(tmp_path / "titles.npy", np.array(TITLES))
    code = f"""
import sys
for name in ("mim_tf", "keras_nlp", "keras_hub", "sentencepiece"):
    sys.modules[name] = None  # importing it fails
import numpy as np, tensorflow as tf, tensorflow_text
titles = np.load({str(tmp_path / "titles.npy")!r})
np.save({str(tmp_path / "ids.npy")!r}, tf.saved_model.load({str(tmp_path / "saved")!r}).tokenize(tf.constant(titles)))
"""
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env)
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), expected)


def trained(**numbers: int) -> bytes:
    """A model whose special pieces have other numbers."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["red dress"] * 9), model_writer=model, model_type="char", minloglevel=2, **numbers
    )
    return model.getvalue()


def test_a_folder_without_its_file_is_told_which_one_to_add() -> None:
    with pytest.raises(FileNotFoundError, match=r"needs sentencepiece\.bpe\.model or beit3\.spm.*json alone"):
        SentencePiece({"tokenizer.json": b"{}"})


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x0a\x03"])
def test_a_broken_file_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"beit3\.spm must be a whole SentencePiece model\. Copy it again\."):
        SentencePiece({"beit3.spm": content})


def test_pieces_in_another_order_are_refused() -> None:
    other = trained(unk_id=2, bos_id=1, eos_id=0)
    message = r"must begin with <unk>, <s>, </s>\. Received: </s>, <s>, <unk>"
    with pytest.raises(ValueError, match=message):
        SentencePiece({"sentencepiece.bpe.model": other})
