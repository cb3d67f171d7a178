"""Swin: its size, its presets, small images, and what is refused."""

import json
from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import VisionEncoder, vision_encoder

CONFIG = {
    "model_type": "swin",
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1],
    "num_heads": [1],
    "window_size": 4,
    "mlp_ratio": 4,
    "qkv_bias": True,
}


def test_tiny_has_as_many_parameters_as_the_published() -> None:
    encoder = vision_encoder("swin_tiny", dim=None, image_size=32)
    classifier = 768 * 1000 + 1000
    assert encoder.count_params() == 28_288_354 - classifier


def test_pooled_is_the_mean_of_the_places() -> None:
    encoder = vision_encoder("swin_toy", dim=None, image_size=40)
    outputs = encoder.backbone(tf.random.normal([2, 40, 40, 3]))
    assert outputs["sequence"].shape == (2, 25, 32)  # 40 pixels / 4 / 2
    np.testing.assert_allclose(outputs["pooled"], np.mean(outputs["sequence"], axis=1), rtol=1e-4, atol=1e-6)


def test_an_image_of_a_single_place_takes_the_weights_of_a_large_one(tmp_path: Path) -> None:
    vision_encoder("swin_toy", dim=4, image_size=64).save_folder(tmp_path)
    encoder = vision_encoder("swin_toy", dim=4, image_size=4, weights=tmp_path)
    large = VisionEncoder.load_folder(tmp_path)
    for ours, theirs in zip(encoder.weights, large.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.isfinite(encoder(tf.random.uniform([2, 4, 4, 3], maxval=255))).all()


# keras-nlp's layer of windows is named a mask in its own call, of which Keras warns.
@pytest.mark.filterwarnings("ignore:Layer 'attn' .of type WindowAttention. was passed an input with a mask")
def test_a_preset_gives_the_same_tokens_as_in_keras_nlp(tmp_path: Path) -> None:
    backbone = keras_nlp.models.SwinTransformerBackbone(
        image_shape=(32, 32, 3), embed_dim=8, depths=(2, 1), num_heads=(1, 2), window_size=4, drop_path=0.5
    )
    for variable in backbone.weights:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.1))
    backbone.save_to_preset(tmp_path)
    keras_nlp.layers.SwinTransformerImageConverter(image_size=(32, 32), scale=1 / 255).save_to_preset(tmp_path)
    encoder = vision_encoder("swin", dim=None, weights=tmp_path)
    assert encoder.image_size == 32
    images = np.random.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = np.mean(backbone(images / 255), axis=1)
    np.testing.assert_allclose(encoder(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "swin_s3_tiny_224"}, r"must be of \w+, .*Received: 'swin_s3_tiny_224'"),
        (
            {"architecture": "swin_tiny_patch4_window7_224", "model_args": {"window_size": 8}},
            r"`model_args` must change nothing of swin_tiny_patch4_window7_224\. Received: window_size=8",
        ),
        (CONFIG | {"hidden_act": "relu"}, "`hidden_act` must be gelu. Received: 'relu'"),
        (CONFIG | {"use_absolute_embeddings": True}, "`use_absolute_embeddings` must be False. Received: True"),
        (CONFIG | {"patch_size": [4, 4]}, r"`patch_size` must be a whole number. Received: \[4, 4\]"),
        (CONFIG | {"num_heads": [1, 2]}, r"`num_heads` must be as many as `depths`, 1. Received: \[1, 2\]"),
        (CONFIG | {"layer_norm_eps": 1e-6}, "`layer_norm_eps` must be 1e-05. Received: 1e-06"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        vision_encoder("swin", dim=None, weights=tmp_path)
