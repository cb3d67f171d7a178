"""The vision encoder: its input side against Pillow, its errors, and what its output depends on."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mim_tf.encoders import VisionEncoder, text_encoder, vision_encoder, vocabulary_files


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    return vision_encoder("vit_toy", image_size=32, dim=6)


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def test_an_image_of_the_right_size_is_decoded_as_it_is(encoder: VisionEncoder) -> None:
    pixels = np.random.randint(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(encoder.decode(tf.constant(encoded(pixels))), pixels)


def test_resizing_averages_like_pillow(encoder: VisionEncoder) -> None:
    pixels = np.random.randint(0, 256, (128, 96, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_allclose(encoder.decode(tf.constant(encoded(pixels))), expected, atol=1)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP"])
def test_grey_images_of_any_form_become_three_channels(encoder: VisionEncoder, form: str) -> None:
    pixels = encoder.decode(tf.constant(encoded(np.full((20, 40), 100, np.uint8), form)))
    assert pixels.shape == (32, 32, 3)
    np.testing.assert_allclose(pixels, 100, atol=2)


def test_a_row_does_not_depend_on_its_batch(encoder: VisionEncoder) -> None:
    images = tf.random.uniform([3, 32, 32, 3], maxval=255)
    together = encoder(images)
    assert together.shape == (3, 6)
    np.testing.assert_allclose(encoder(images[1:2])[0], together[1], rtol=1e-4, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of .*vit_base, .*vit_toy.*Received: 'vit_huge'"):
        vision_encoder("vit_huge", image_size=32, dim=6)


def test_a_size_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`image_size` must be a multiple of the patch size 16. Received: 40"):
        vision_encoder("vit_toy", image_size=40, dim=6)


def test_bytes_go_in_and_embeddings_come_out(encoder: VisionEncoder) -> None:
    pixels = np.random.randint(0, 256, (2, 32, 32, 3), np.uint8)
    images = tf.constant([encoded(image) for image in pixels])
    np.testing.assert_allclose(encoder.embed(images), encoder(pixels.astype(np.float32)), rtol=1e-5, atol=1e-6)


def test_without_a_projection_the_pooled_output_comes_out() -> None:
    assert vision_encoder("vit_toy", image_size=32, dim=None)(tf.zeros([1, 32, 32, 3])).shape == (1, 32)


def test_an_encoder_survives_its_folder_and_takes_another_image_size(encoder: VisionEncoder, tmp_path: Path) -> None:
    encoder.save_folder(tmp_path)
    images = tf.random.uniform([2, 32, 32, 3], maxval=255)
    np.testing.assert_array_equal(VisionEncoder.load_folder(tmp_path)(images), encoder(images))
    same = vision_encoder("vit", dim=6, weights=tmp_path)
    np.testing.assert_array_equal(same(images), encoder(images))
    larger = vision_encoder("vit", dim=6, image_size=64, weights=tmp_path)
    assert larger(tf.zeros([1, 64, 64, 3])).shape == (1, 6)


def test_a_text_encoder_is_no_vision_encoder(tmp_path: Path) -> None:
    files = vocabulary_files(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    text_encoder("bert_toy", length=4, dim=4, files=files).save_folder(tmp_path)
    with pytest.raises(ValueError, match=r"must hold a vision encoder"):
        vision_encoder("vit", dim=6, weights=tmp_path)
