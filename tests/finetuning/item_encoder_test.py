"""The item encoder: the equations put together, centring, and when the fingerprint changes."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import text_encoder, vision_encoder, vocabulary_files
from mim_tf.finetuning.item_encoder import ItemEncoder

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "mug", "lamp"]


@pytest.fixture
def encoder() -> ItemEncoder:
    text = text_encoder("bert_toy", length=5, dim=4, files=vocabulary_files(VOCABULARY))
    return ItemEncoder(vision_encoder("vit_toy", image_size=16, dim=4), text, fusion_units=(), dim=4)


def batch(encoder: ItemEncoder, items: int = 3) -> tuple[tf.Tensor, tf.Tensor]:
    titles = tf.constant(["red mug", "lamp", "red lamp"][:items])
    return tf.random.uniform([items, 16, 16, 3], maxval=255), encoder.text.tokenize(titles)


def test_before_training_the_fused_embedding_is_the_mean_direction_of_both(encoder: ItemEncoder) -> None:
    embeddings = encoder(*batch(encoder))
    units = [h / np.linalg.norm(h, axis=1, keepdims=True) for h in (embeddings.image.numpy(), embeddings.text.numpy())]
    expected = units[0] + units[1]
    np.testing.assert_allclose(
        embeddings.fused, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-4, atol=1e-5
    )


def test_centring_makes_the_mean_before_scaling_zero(encoder: ItemEncoder) -> None:
    images, token_ids = batch(encoder)
    before = encoder(images, token_ids)
    units = [tf.math.l2_normalize(h, axis=-1).numpy() for h in (before.image, before.text)]
    encoder.centre([(images[:2], token_ids[:2]), (images[2:], token_ids[2:])])
    centred = units[0] + units[1] - (units[0] + units[1]).mean(axis=0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder(images, token_ids).fused, expected, rtol=1e-3, atol=1e-4)


def test_the_fingerprint_is_that_of_weights_and_vocabulary(encoder: ItemEncoder) -> None:
    fingerprint = encoder.fingerprint()
    assert fingerprint == encoder.fingerprint()
    encoder.fusion.out.bias.assign_add([0, 0, 0, 1e-6])
    assert encoder.fingerprint() != fingerprint


def test_an_item_encoder_survives_a_folder(encoder: ItemEncoder, tmp_path: Path) -> None:
    for variable in encoder.fusion.weights:
        variable.assign(tf.random.normal(variable.shape))
    encoder.save_folder(tmp_path)
    copy = ItemEncoder.load_folder(tmp_path)
    assert copy.fingerprint() == encoder.fingerprint()
    images, token_ids = batch(encoder)
    np.testing.assert_array_equal(copy(images, token_ids).fused, encoder(images, token_ids).fused)
    assert vision_encoder("vit_toy", dim=4, weights=tmp_path / "vision").image_size == 16
