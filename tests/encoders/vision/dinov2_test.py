"""DINOv2: its size, its presets, what is saved of its positions, and what is refused."""

import json
from pathlib import Path

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import VisionEncoder, vision_encoder

CONFIG = {
    "model_type": "dinov2",
    "patch_size": 14,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "mlp_ratio": 4,
    "use_swiglu_ffn": False,
}


def test_small_has_as_many_parameters_as_the_published() -> None:
    encoder = vision_encoder("dinov2_small", dim=None, image_size=518)
    mask_token = 384  # only for pre-training
    assert sum(int(np.prod(variable.shape)) for variable in encoder.trainable_variables) == 22_056_576 - mask_token


@pytest.mark.parametrize("change", [1.0, -1.0])
def test_what_positions_learned_is_saved(tmp_path: Path, change: float) -> None:
    encoder = vision_encoder("dinov2_toy", dim=4, image_size=32)
    images = tf.random.uniform([2, 32, 32, 3], maxval=255)
    untrained = encoder(images)
    positions = next(variable for variable in encoder.trainable_variables if "position" in variable.path)
    positions.assign_add(change * tf.random.uniform(positions.shape))  # signs alike, so that their sum has that sign
    assert np.abs(encoder(images) - untrained).max() > 1e-3
    encoder.save_folder(tmp_path)
    np.testing.assert_array_equal(VisionEncoder.load_folder(tmp_path)(images), encoder(images))


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("swiglu", [False, True])
def test_a_preset_gives_the_same_tokens_as_in_keras_nlp(tmp_path: Path, registers: int, swiglu: bool) -> None:
    shape = (28, 28, 3)
    backbone = keras_nlp.models.DINOV2Backbone(
        patch_size=14,
        num_layers=2,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=32,
        num_register_tokens=registers,
        use_swiglu_ffn=swiglu,
        image_shape=shape,
        position_embedding_shape=shape,
    )
    backbone.save_to_preset(tmp_path)
    keras_nlp.layers.DINOV2ImageConverter(image_size=(28, 28), scale=1 / 255).save_to_preset(tmp_path)
    encoder = vision_encoder("dinov2", dim=None, weights=tmp_path)
    assert encoder.image_size == 28
    images = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype(np.float32)
    tokens = backbone({"images": keras.ops.convert_to_tensor(images / 255)})
    np.testing.assert_allclose(encoder(images), tokens[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "relu", "`hidden_act` must be gelu. Received: 'relu'"),
        ("layer_norm_eps", 1e-5, "`layer_norm_eps` must be 1e-06. Received: 1e-05"),
        ("qkv_bias", False, "`qkv_bias` must be True. Received: False"),
        ("patch_size", [14, 14], r"`patch_size` must be a whole number. Received: \[14, 14\]"),
        ("num_channels", 4, "`num_channels` must be 3. Received: 4"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {key: value}))
    with pytest.raises(ValueError, match=message):
        vision_encoder("dinov2", dim=None, weights=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_pool": "avg"}, "`global_pool` must be token. Received: 'avg'"),
        ({"model_args": {"num_heads": 3}}, "`model_args` must change nothing of .* Received: num_heads=3"),
    ],
)
def test_a_timm_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_small_patch14_dinov2"} | changes))
    with pytest.raises(ValueError, match=message):
        vision_encoder("dinov2", dim=None, weights=tmp_path)
