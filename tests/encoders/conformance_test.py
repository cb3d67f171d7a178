"""What every encoder must do, whatever its architecture: train, save, reload, export; in both precisions."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import TEXT_ENCODERS, TEXT_FAMILIES, VISION_ENCODERS, VISION_FAMILIES
from tests.encoders.conftest import DIM, FAMILIES, make_toy

PRECISIONS = ("float32", "mixed_bfloat16")
ROUNDING = {"float32": 1e-4, "mixed_bfloat16": 5e-2}


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


IN_ANOTHER_PROCESS = """
import sys
for name in ("mim_tf", "keras_nlp", "keras_hub"):  # tensorflow_text itself imports keras
    sys.modules[name] = None  # importing it fails
import pathlib, numpy, tensorflow, tensorflow_text  # the latter for its ops, which stock servers link
folder = pathlib.Path(sys.argv[1])
for model in folder.iterdir():
    raw = numpy.load(model / "raw.npy")
    embed = tensorflow.saved_model.load(model / "model").signatures["serving_default"]
    numpy.save(model / "reloaded.npy", embed(tensorflow.constant(raw))["embedding"])
"""


def test_bytes_and_strings_go_into_its_saved_model_where_our_code_is_not(tmp_path: Path) -> None:
    expected = {}
    for family in FAMILIES:
        for dtype in PRECISIONS:
            encoder, _, raw = make_toy(family, dtype)
            embed = tf.function(lambda raw, encoder=encoder: {"embedding": encoder.embed(raw)})
            signature = embed.get_concrete_function(tf.TensorSpec([None], tf.string))
            folder = tmp_path / f"{family}-{dtype}"
            tf.saved_model.save(encoder, folder / "model", signatures=signature)
            np.save(folder / "raw.npy", raw.numpy().astype(bytes))
            expected[folder] = encoder.embed(raw)
    command = [sys.executable, "-W", "ignore", "-c", IN_ANOTHER_PROCESS, tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for folder, embeddings in expected.items():
        rounding = ROUNDING[folder.name.rpartition("-")[2]]
        reloaded = np.load(folder / "reloaded.npy")
        np.testing.assert_allclose(reloaded, embeddings, rtol=rounding, atol=rounding, err_msg=folder.name)
