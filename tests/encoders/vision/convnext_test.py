"""ConvNeXt: its layers against NumPy and Keras, its sizes against the papers, and what is refused."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import vision_encoder
from mim_tf.encoders.vision.convnext import build
from mim_tf.encoders.vision.convnext_layers import ChannelNorm, Downsampling, GlobalResponseNorm, exact_gelu

CONFIG = {"depths": [1], "hidden_sizes": [8], "patch_size": 4, "layer_norm_eps": 1e-12, "layer_scale_init_value": 1e-6}


def response_norm(gamma: list[float], beta: list[float]) -> GlobalResponseNorm:
    layer = GlobalResponseNorm()
    layer.build((None, None, None, len(gamma)))
    layer.set_weights([np.array(gamma), np.array(beta)])
    return layer


def test_response_norm_scales_a_channel_by_its_share() -> None:
    # One image of 1 x 2 places: the channels' norms are |(3, 4)| = 5 and |(0, 1)| = 1, their mean 3, the shares 5/3
    # and 1/3. gamma = (3, 6) makes the scales 1 + 5 = 6 and 1 + 2 = 3.
    inputs = np.array([[[[3, 0], [4, 1]]]], np.float32)
    expected = [[[[18.5, 0], [24.5, 3]]]]
    np.testing.assert_allclose(response_norm([3, 6], [0.5, 0])(inputs), expected, rtol=1e-5)


def test_response_norm_is_of_each_image_alone() -> None:
    images = np.random.normal(size=(3, 4, 5, 6)).astype(np.float32)
    gamma, beta = np.random.normal(size=(2, 6)).astype(np.float32)
    norms = np.sqrt((images**2).sum((1, 2), keepdims=True))
    shares = norms / (norms.mean(-1, keepdims=True) + 1e-6)
    expected = gamma * (images * shares) + beta + images
    np.testing.assert_allclose(response_norm(list(gamma), list(beta))(images), expected, rtol=1e-4, atol=1e-5)


def test_response_norm_of_nothing_has_a_finite_gradient() -> None:
    layer, inputs = response_norm([1, 1], [2, 3]), tf.zeros([1, 2, 2, 2])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
    np.testing.assert_array_equal(outputs[0, 0, 0], [2, 3])
    # At zero only the identity is left: the share and its gradient are zero.
    np.testing.assert_array_equal(tape.gradient(outputs, inputs), np.ones([1, 2, 2, 2]))


def test_the_gradient_of_response_norm_is_that_of_finite_differences() -> None:
    layer = response_norm([0.5, -1, 2], [0, 0, 0])
    inputs = np.random.normal(size=(2, 3, 2, 3)).astype(np.float32)
    theoretical, numerical = tf.test.compute_gradient(lambda x: layer(x) ** 2, [inputs], delta=1e-2)
    np.testing.assert_allclose(theoretical[0], numerical[0], atol=2e-2)


def test_response_norm_of_large_values_does_not_overflow_in_half_precision() -> None:
    layer = GlobalResponseNorm(dtype="mixed_float16")
    layer.build((None, None, None, 2))
    layer.set_weights([np.ones(2), np.zeros(2)])
    # Both norms are alike, so the shares are 1 and the scales 2; the squares are beyond float16's 65504.
    np.testing.assert_allclose(layer(np.full([1, 8, 8, 2], 1000.0)), np.full([1, 8, 8, 2], 2000.0))


def test_channel_norm_is_layer_normalisation() -> None:
    inputs = 3 + 2 * np.random.normal(size=(2, 3, 3, 5)).astype(np.float32)
    weights = [np.random.normal(size=5), np.random.normal(size=5)]
    ours, keras_own = ChannelNorm(epsilon=1e-6), keras.layers.LayerNormalization(epsilon=1e-6)
    for layer in (ours, keras_own):
        layer.build(inputs.shape)
        layer.set_weights(weights)
    np.testing.assert_allclose(ours(inputs), keras_own(inputs), rtol=1e-5, atol=1e-5)


def test_gelu_is_the_input_times_the_normal_distribution() -> None:
    inputs = tf.constant(np.linspace(-5, 5, 41), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = exact_gelu(inputs)
    distribution = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in inputs.numpy()])
    density = np.exp(-(inputs.numpy() ** 2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(outputs, inputs * distribution, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(outputs, inputs), distribution + inputs * density, atol=1e-6)


def test_downsampling_leaves_out_an_odd_row() -> None:
    layer = Downsampling(4)
    images = np.random.normal(size=(1, 5, 7, 2)).astype(np.float32)
    outputs = layer(images)
    assert outputs.shape == (1, 2, 3, 4)
    np.testing.assert_allclose(layer(images[:, :4, :6]), outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "published", "hidden"),
    [("convnextv2_atto", 3_708_400, 320), ("convnextv2_femto", 5_233_240, 384)],  # 3.7M and 5.2M in the paper
)
def test_sizes_have_as_many_parameters_as_timms(name: str, published: int, hidden: int) -> None:
    classifier = (hidden + 1) * 1000
    assert vision_encoder(name, dim=None, image_size=32).count_params() == published - classifier


def test_an_image_too_small_for_the_stages_is_refused() -> None:
    arguments = {"depths": [1, 1, 1, 1], "widths": [8, 8, 8, 8], "response_norm": True, "stem_size": 4}
    with pytest.raises(ValueError, match=r"`image_size` must be at least 32\. Received: 31"):
        build(image_size=31, dtype="float32", **arguments)
    assert build(image_size=32, dtype="float32", **arguments).output["sequence"].shape == (None, 1, 1, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "`hidden_act` must be gelu. Received: 'relu'"),
        ({"num_channels": 1}, "`num_channels` must be 3. Received: 1"),
        ({"patch_size": [4, 4]}, r"`patch_size` must be a whole number. Received: \[4, 4\]"),
        ({"layer_scale_init_value": 0.0}, "`layer_scale_init_value` must be positive. Received: 0.0"),
    ],
)
def test_a_transformers_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"model_type": "convnext"} | changes))
    with pytest.raises(ValueError, match=message):
        vision_encoder("convnext", dim=None, weights=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_args": {"conv_mlp": True, "norm_eps": 1e-5}}, "must change nothing of .* Received: norm_eps=1e-05"),
        ({"global_pool": "max"}, "`global_pool` must be avg. Received: 'max'"),
    ],
)
def test_a_timm_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "convnextv2_atto"} | changes))
    with pytest.raises(ValueError, match=message):
        vision_encoder("convnextv2", dim=None, weights=tmp_path)
