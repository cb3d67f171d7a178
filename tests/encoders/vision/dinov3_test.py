"""DINOv3: its sizes, its presets, any image size, and what is refused."""

import json
from pathlib import Path

import keras
import keras_nlp
import numpy as np
import pytest

from mim_tf.encoders import vision_encoder

CONFIG = {
    "model_type": "dinov3_vit",
    "patch_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "hidden_act": "gelu",
}


@pytest.mark.parametrize(("name", "published"), [("dinov3_small", 21_596_544), ("dinov3_small_plus", 28_692_864)])
def test_small_sizes_have_as_many_parameters_as_the_published(name: str, published: int) -> None:
    encoder = vision_encoder(name, dim=None, image_size=32)
    mask_token = 384  # only for pre-training
    assert encoder.count_params() == published - mask_token


def test_weights_do_not_depend_on_the_image_size() -> None:
    small, large = (vision_encoder("dinov3_toy", dim=4, image_size=size) for size in (32, 96))
    large.set_weights(small.get_weights())
    one_colour = np.full((1, 96, 96, 3), 100, np.float32)
    assert np.isfinite(large(one_colour)).all()
    assert large.backbone.output["sequence"].shape == (None, 1 + 4 + 6 * 6, 32)


def test_a_preset_gives_the_same_tokens_as_in_keras_nlp(tmp_path: Path) -> None:
    backbone = keras_nlp.models.DINOV3Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=32,
        num_register_tokens=2,
        hidden_activation="silu",
        use_gated_mlp=True,
        use_key_bias=False,
        rope_theta=50.0,
        image_shape=(24, 24, 3),
    )
    backbone.save_to_preset(tmp_path)
    keras_nlp.layers.DINOV3ImageConverter(image_size=(24, 24), scale=1 / 255).save_to_preset(tmp_path)
    encoder = vision_encoder("dinov3", dim=None, weights=tmp_path)
    assert encoder.image_size == 24
    images = np.random.default_rng(0).uniform(0, 255, (2, 24, 24, 3)).astype(np.float32)
    tokens = backbone({"pixel_values": keras.ops.convert_to_tensor(images / 255)})
    np.testing.assert_allclose(encoder(images), tokens[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "relu", "`hidden_act` must be one of gelu, silu. Received: 'relu'"),
        ("num_channels", 4, "`num_channels` must be 3. Received: 4"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {key: value}))
    with pytest.raises(ValueError, match=message):
        vision_encoder("dinov3", dim=None, weights=tmp_path)


def test_a_timm_configuration_that_cannot_be_honoured_is_refused(tmp_path: Path) -> None:
    config = {"architecture": "vit_small_patch16_dinov3", "model_args": {"num_heads": 3}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"`model_args` must change nothing of .* Received: num_heads=3"):
        vision_encoder("dinov3", dim=None, weights=tmp_path)
