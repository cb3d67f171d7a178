"""ResNet: its size, its batch normalisation, its presets, and what is refused."""

import json
from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import VisionEncoder, vision_encoder
from mim_tf.encoders.adaptation import train_last_blocks

CONFIG = {
    "model_type": "resnet",
    "embedding_size": 64,
    "hidden_sizes": [256],
    "depths": [1],
    "layer_type": "bottleneck",
}


@pytest.fixture
def toy() -> VisionEncoder:
    return vision_encoder("resnet_toy", dim=4, image_size=32)


@pytest.fixture
def images() -> tf.Tensor:
    return tf.random.uniform([4, 32, 32, 3], maxval=255)


def statistics(encoder: VisionEncoder) -> dict[str, np.ndarray]:
    return {variable.path: np.array(variable) for variable in encoder.backbone.weights if "moving" in variable.path}


def test_50_layers_have_as_many_parameters_as_the_published() -> None:
    encoder = vision_encoder("resnet50", dim=None, image_size=32)
    classifier = 2048 * 1000 + 1000
    assert sum(int(np.prod(variable.shape)) for variable in encoder.trainable_variables) == 25_557_032 - classifier


def test_pooled_is_the_mean_over_all_places(toy: VisionEncoder, images: tf.Tensor) -> None:
    outputs = toy.backbone(images)
    assert outputs["sequence"].shape == (4, 4, 4, 64)  # 32 pixels / 2 / 2 / 2
    np.testing.assert_allclose(outputs["pooled"], np.mean(outputs["sequence"], axis=(1, 2)), rtol=1e-5)


def test_training_moves_the_statistics_a_tenth_of_the_way_to_the_batch(toy: VisionEncoder, images: tf.Tensor) -> None:
    stem = toy.backbone.get_layer("stem")
    convolved = stem.get_layer("conv1_conv")(stem.get_layer("conv1_pad")(toy.pixels.normalise(images))).numpy()
    tf.function(toy)(images, training=True)
    after = statistics(toy)
    np.testing.assert_allclose(after["conv1_bn/moving_mean"], 0.1 * convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    expected = 0.9 + 0.1 * convolved.var((0, 1, 2))
    np.testing.assert_allclose(after["conv1_bn/moving_variance"], expected, rtol=1e-4)


def test_inference_leaves_the_statistics_and_does_not_depend_on_the_batch(
    toy: VisionEncoder, images: tf.Tensor
) -> None:
    before = statistics(toy)
    together, alone = tf.function(toy)(images), toy(images[:1])
    np.testing.assert_allclose(together[:1], alone, rtol=1e-4, atol=1e-5)
    for path, value in statistics(toy).items():
        np.testing.assert_array_equal(value, before[path])


def test_frozen_blocks_keep_their_statistics(toy: VisionEncoder, images: tf.Tensor) -> None:
    before = statistics(toy)
    train_last_blocks(toy, 1)
    tf.function(toy)(images, training=True)
    moved = {path.split("_")[0] for path, value in statistics(toy).items() if (value != before[path]).any()}
    assert moved == {"stack1"}


@pytest.mark.parametrize("block_type", ["basic_block", "bottleneck_block_vd"])
def test_a_preset_gives_the_same_maps_as_in_keras_nlp(tmp_path: Path, block_type: str) -> None:
    backbone = keras_nlp.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 32],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type=block_type,
    )
    backbone.save_to_preset(tmp_path)
    keras_nlp.layers.ResNetImageConverter(scale=1 / 255).save_to_preset(tmp_path)
    assert vision_encoder("resnet", dim=None, weights=tmp_path).image_size == 224  # keras-nlp leaves it open
    encoder = vision_encoder("resnet", dim=None, image_size=33, weights=tmp_path)
    images = np.random.uniform(0, 255, (2, 33, 33, 3)).astype(np.float32)
    expected = np.mean(backbone(images / 255), axis=(1, 2))
    np.testing.assert_allclose(encoder(images), expected, rtol=1e-4, atol=1e-5)


def test_a_preset_of_version_2_is_refused(tmp_path: Path) -> None:
    sizes: dict[str, Any] = vision_encoder("resnet_toy", dim=None, image_size=32).arguments
    keras_nlp.models.ResNetBackbone(**sizes, use_pre_activation=True).save_to_preset(tmp_path)
    with pytest.raises(ValueError, match=r"must be a preset of ResNet or ResNet-vd\. Received: one of ResNetV2"):
        vision_encoder("resnet", dim=None, weights=tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "resnet50d"}, r"must be of \w+, .*Received: 'resnet50d'"),
        (
            {"architecture": "resnet50", "model_args": {"output_stride": 8}},
            r"`model_args` must change nothing of resnet50\. Received: output_stride=8",
        ),
        (CONFIG | {"hidden_act": "gelu"}, "`hidden_act` must be relu. Received: 'gelu'"),
        (CONFIG | {"downsample_in_bottleneck": True}, "`downsample_in_bottleneck` must be False. Received: True"),
        (CONFIG | {"hidden_sizes": [128]}, r"`hidden_sizes` must start with 256. Received: \[128\]"),
        (
            CONFIG | {"layer_type": "basic", "hidden_sizes": [64], "embedding_size": 32},
            "`embedding_size` must be 64 with basic layers. Received: 32",
        ),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        vision_encoder("resnet", dim=None, weights=tmp_path)
