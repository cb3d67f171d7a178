"""SigLIP's vision tower: its size, its presets, pixels at the edge, and what is refused."""

import json
from pathlib import Path

import keras
import keras_nlp
import numpy as np
import pytest

from mim_tf.encoders import vision_encoder

CONFIG = {"model_type": "siglip", "vision_config": {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}}


def test_base_has_as_many_parameters_as_the_published() -> None:
    assert vision_encoder("siglip_base", dim=None).count_params() == 92_884_224


def test_pixels_that_fill_no_patch_are_not_seen() -> None:
    encoder = vision_encoder("siglip_toy", dim=4, image_size=38)
    images = np.random.default_rng(0).uniform(0, 255, (1, 38, 38, 3)).astype(np.float32)
    changed = images.copy()
    changed[:, 32:] = changed[:, :, 32:] = 0
    np.testing.assert_array_equal(encoder(images), encoder(changed))
    changed[:, 31] = 0
    assert np.abs(encoder(images) - encoder(changed)).max() > 1e-4


def test_a_preset_gives_the_same_vector_as_in_keras_nlp(tmp_path: Path) -> None:
    sizes = {"hidden_dim": 16, "num_layers": 2, "num_heads": 2, "intermediate_dim": 24}
    vision = keras_nlp.models.SigLIPVisionEncoder(patch_size=8, image_shape=(24, 24, 3), **sizes)
    text = keras_nlp.models.SigLIPTextEncoder(vocabulary_size=10, embedding_dim=16, **sizes)
    keras_nlp.models.SigLIPBackbone(vision, text).save_to_preset(tmp_path)
    keras_nlp.layers.SigLIPImageConverter(image_size=(24, 24), scale=1 / 255).save_to_preset(tmp_path)
    encoder = vision_encoder("siglip", dim=None, weights=tmp_path)
    assert encoder.image_size == 24
    images = np.random.default_rng(0).uniform(0, 255, (2, 24, 24, 3)).astype(np.float32)
    expected = vision({"images": keras.ops.convert_to_tensor(images / 255)})
    np.testing.assert_allclose(encoder(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "relu", "`hidden_act` must be one of gelu, gelu_pytorch_tanh. Received: 'relu'"),
        ("layer_norm_eps", 1e-5, "`layer_norm_eps` must be 1e-06. Received: 1e-05"),
        ("image_size", [224, 224], r"`image_size` must be a whole number. Received: \[224, 224\]"),
        ("vision_use_head", False, "`vision_use_head` must be True. Received: False"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"vision_config": {key: value}}))
    with pytest.raises(ValueError, match=message):
        vision_encoder("siglip", dim=None, weights=tmp_path)
