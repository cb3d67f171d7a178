"""Image and title at once: each counts, bytes and strings suffice, and the backbone is BEiT-3's joint one."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from mim_tf.encoders import PairEncoder, pair_encoder
from tests.encoders.beit3_test import CONFIG, shapes
from tests.encoders.toys import tokenizer_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beit3")
    random = np.random.default_rng(0)
    tensors = {name: np.asarray(random.normal(size=shape) / 4, np.float32) for name, shape in shapes().items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "beit3.spm").write_bytes(tokenizer_files("beit3")["beit3.spm"])
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> PairEncoder:
    return pair_encoder(folder, dim=3, length=5)


def pictures(encoder: PairEncoder, count: int) -> tf.Tensor:
    shape = (count, encoder.image_size, encoder.image_size, 3)
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    return tf.stack([tf.io.encode_png(image) for image in pixels])


def test_image_and_title_both_count(encoder: PairEncoder) -> None:
    one, other = pictures(encoder, 2)
    images, titles = tf.stack([one, one, other]), tf.constant(["red dress", "blue shirt", "red dress"])
    first, title_changed, image_changed = encoder.embed(images, titles).numpy()
    assert np.abs(first - title_changed).max() > 1e-3
    assert np.abs(first - image_changed).max() > 1e-3


def test_it_is_the_joint_model_and_a_projection(encoder: PairEncoder) -> None:
    images, titles = pictures(encoder, 2), tf.constant(["red", ""])
    pixels = tf.stack([tf.cast(tf.io.decode_png(image), tf.float32) for image in images])
    token_ids = encoder.tokenize(titles)
    inputs = {"images": pixels / 127.5 - 1, "token_ids": token_ids, "padding_mask": token_ids != 1}
    kernel, bias = encoder.projection.get_weights()
    expected = encoder.backbone(inputs)["pooled"].numpy() @ kernel + bias
    np.testing.assert_allclose(encoder.embed(images, titles), expected, rtol=1e-4, atol=1e-5)


def test_a_folder_without_a_tokeniser_is_told(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(folder / name)
    with pytest.raises(FileNotFoundError, match=r"needs sentencepiece\.bpe\.model or beit3\.spm"):
        pair_encoder(tmp_path, dim=3, length=5)


def test_a_length_beyond_the_positions_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"`length` must be at most 5, .*Received: 6"):
        pair_encoder(folder, dim=3, length=6)
