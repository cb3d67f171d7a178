"""What every layer of our own architectures must do; a layer without a descriptor fails here."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import mim_tf.encoders
from mim_tf.encoders.beit3_layers import ImageTokens, MultiwayBlock, WordTokens
from mim_tf.encoders.text.pooling import Pooling
from mim_tf.encoders.vision.convnext_layers import ChannelNorm, ConvNeXtBlock, Downsampling, GlobalResponseNorm
from mim_tf.encoders.vision.eva02_layers import EVA02Attention, EVA02Block, EVA02SwiGLU, EVA02Tokens
from mim_tf.encoders.vision.patch_embedding import PatchEmbedding
from mim_tf.encoders.vision.shifted_window_attention import ShiftedWindowAttention

IMAGES, MAPS, PATCHES, TOKENS = (8, 8, 3), (6, 6, 8), (5, 8), (4, 8)  # shapes of one example; PATCHES has a class token
# The layer, and the shape of its input without the batch. Those of text also take a mask.
DESCRIPTORS: dict[type[keras.Layer], tuple[Callable[..., keras.Layer], tuple[int, ...]]] = {
    ChannelNorm: (ChannelNorm, MAPS),
    ConvNeXtBlock: (lambda **options: ConvNeXtBlock(response_norm=True, **options), MAPS),
    Downsampling: (lambda **options: Downsampling(4, **options), MAPS),
    EVA02Attention: (lambda **options: EVA02Attention(2, 2, True, **options), PATCHES),
    EVA02Block: (lambda **options: EVA02Block(2, 12, 2, True, True, **options), PATCHES),
    EVA02SwiGLU: (lambda **options: EVA02SwiGLU(12, True, **options), PATCHES),
    EVA02Tokens: (lambda **options: EVA02Tokens(4, 8, **options), IMAGES),
    GlobalResponseNorm: (GlobalResponseNorm, MAPS),
    ImageTokens: (lambda **options: ImageTokens(4, 8, **options), IMAGES),
    MultiwayBlock: (lambda **options: MultiwayBlock(("vision", "text"), 2, 2, 16, **options), TOKENS),
    PatchEmbedding: (lambda **options: PatchEmbedding(8, 4, **options), IMAGES),
    Pooling: (lambda **options: Pooling("mean", **options), TOKENS),
    ShiftedWindowAttention: (lambda **options: ShiftedWindowAttention(2, 4, shifted=True, **options), MAPS),
    WordTokens: (lambda **options: WordTokens(20, 6, 8, **options), (4,)),
}
MASKED = (MultiwayBlock, Pooling, WordTokens)


def layers() -> Iterator[type[keras.Layer]]:
    """All public layers below `mim_tf.encoders`, models apart."""
    for module in pkgutil.walk_packages(mim_tf.encoders.__path__, "mim_tf.encoders."):
        for name, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            is_layer = issubclass(value, keras.Layer) and not issubclass(value, keras.Model)
            if is_layer and value.__module__ == module.name and not name.startswith("_"):
                yield value


def arguments(kind: type[keras.Layer], batch: int) -> list[tf.Tensor]:
    """The call arguments for a batch; every row of a mask keeps a token and pads one."""
    random = np.random.default_rng(0)
    shape = (batch, *DESCRIPTORS[kind][1])
    if kind is WordTokens:
        inputs: Any = random.integers(0, 20, shape).astype(np.int32)
    else:
        inputs = random.normal(size=shape).astype(np.float32)
    mask = np.arange(4) < 1 + np.arange(batch)[:, np.newaxis] % 3
    return [tf.constant(inputs), *([tf.constant(mask)] if kind in MASKED else [])]


def randomised(layer: keras.Layer, inputs: list[tf.Tensor]) -> keras.Layer:
    layer(*inputs)
    for variable in layer.weights:
        variable.assign(np.random.normal(size=variable.shape) / 3 + ("gamma" in variable.path))
    return layer


def test_every_layer_is_described() -> None:
    assert set(layers()) == set(DESCRIPTORS)


@pytest.mark.parametrize("kind", DESCRIPTORS, ids=lambda kind: kind.__name__)
def test_its_config_makes_it_again(kind: type[keras.Layer]) -> None:
    inputs = arguments(kind, 3)
    layer = randomised(DESCRIPTORS[kind][0](name="layer"), inputs)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again(*inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_allclose(again(*inputs), layer(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", DESCRIPTORS, ids=lambda kind: kind.__name__)
def test_batches_of_any_size_give_each_row_its_own(kind: type[keras.Layer]) -> None:
    inputs = arguments(kind, 3)
    layer = randomised(DESCRIPTORS[kind][0](), inputs)
    together = layer(*inputs)
    signature = [tf.TensorSpec([None, *value.shape[1:]], value.dtype) for value in inputs]
    call = tf.function(layer.__call__, input_signature=signature)
    np.testing.assert_allclose(call(*inputs), together, rtol=1e-4, atol=1e-5)
    alone = call(*(value[1:2] for value in inputs))
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", DESCRIPTORS, ids=lambda kind: kind.__name__)
def test_in_bfloat16_it_is_the_same_but_for_rounding(kind: type[keras.Layer]) -> None:
    inputs = arguments(kind, 3)
    layer = randomised(DESCRIPTORS[kind][0](), inputs)
    half = DESCRIPTORS[kind][0](dtype="mixed_bfloat16")
    half(*inputs)
    half.set_weights(layer.get_weights())
    outputs, expected = half(*inputs), layer(*inputs).numpy()
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05 * np.abs(expected).max())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(tf.cast(half(*inputs), tf.float32)))
    for gradient in tape.gradient(loss, [variable.value for variable in half.trainable_variables]):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()
