"""What every encoder must do, whatever its architecture: train, save and reload, in both precisions."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import TEXT_ENCODERS, TEXT_FAMILIES, VISION_ENCODERS, VISION_FAMILIES
from tests.encoders.conftest import DIM, PRECISIONS, ROUNDING, make_toy


def test_every_family_has_a_toy() -> None:
    assert {f"{name}_toy" for name in VISION_FAMILIES} <= set(VISION_ENCODERS)
    assert {f"{name}_toy" for name in TEXT_FAMILIES} <= set(TEXT_ENCODERS)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_it_trains_and_survives_its_folder(family: str, dtype: str, tmp_path: Path) -> None:
    encoder, inputs, _ = make_toy(family, dtype)
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(encoder.trainable_variables)

    @tf.function
    def step(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            embeddings = encoder(batch, training=True)
            loss = tf.reduce_mean(tf.square(embeddings - 1))
        gradients = tape.gradient(loss, [variable.value for variable in encoder.trainable_variables])
        optimizer.apply(gradients, encoder.trainable_variables)
        return loss, gradients

    before = [np.array(variable) for variable in encoder.trainable_variables]
    loss, gradients = step(inputs)
    assert np.isfinite(loss)
    for variable, gradient in zip(encoder.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path
    assert any((old != np.array(new)).any() for old, new in zip(before, encoder.trainable_variables, strict=True))

    embeddings = encoder(inputs)
    assert embeddings.dtype == tf.float32
    assert embeddings.shape == (3, DIM)
    alone = encoder(inputs[1:2])
    np.testing.assert_allclose(alone[0], embeddings[1], rtol=ROUNDING[dtype], atol=ROUNDING[dtype])
    encoder.save_folder(tmp_path)
    np.testing.assert_array_equal(type(encoder).load_folder(tmp_path, dtype)(inputs), embeddings)
