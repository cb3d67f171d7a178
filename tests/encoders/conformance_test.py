"""What every encoder must do, whatever its architecture: train, save and reload, in both precisions."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import TEXT_ENCODERS, TEXT_FAMILIES, VISION_ENCODERS, VISION_FAMILIES
from tests.encoders.conftest import DIM, LENGTH, ROUNDING, make_toy


def test_every_family_has_a_toy() -> None:
    assert {f"{name}_toy" for name in VISION_FAMILIES} <= set(VISION_ENCODERS)
    assert {f"{name}_toy" for name in TEXT_FAMILIES} <= set(TEXT_ENCODERS)


@pytest.mark.parametrize("name", TEXT_FAMILIES)
def test_the_token_embedding_is_what_token_ids_are_looked_up_in(name: str) -> None:
    encoder, token_ids, _ = make_toy(f"text-{name}")
    embedding = TEXT_FAMILIES[name].token_embedding(encoder.backbone)
    hidden = encoder.backbone.output["sequence"].shape[-1]
    assert embedding.shape == (encoder.arguments["vocabulary_size"], hidden)
    before = encoder(token_ids).numpy()
    rows = np.array(embedding)
    rows[np.setdiff1d(np.arange(len(rows)), token_ids)] += np.arange(hidden)  # of no token in the titles
    embedding.assign(rows)
    np.testing.assert_array_equal(encoder(token_ids), before)
    rows[token_ids[0, 0]] += np.arange(hidden)
    embedding.assign(rows)
    assert (encoder(token_ids)[0].numpy() != before[0]).any()


@pytest.mark.parametrize("name", TEXT_FAMILIES)
def test_only_in_causal_families_a_token_sees_none_of_those_behind_it(name: str) -> None:
    encoder, token_ids, _ = make_toy(f"text-{name}")
    ids, mask = token_ids.numpy()[2:], np.ones((1, LENGTH), bool)  # a title of full length
    other = ids.copy()
    other[0, -2] = (ids[0, -2] + 1) % encoder.arguments["vocabulary_size"]
    one, two = (encoder.backbone({"token_ids": each, "padding_mask": mask})["sequence"] for each in (ids, other))
    same = np.isclose(one[0, : LENGTH - 2], two[0, : LENGTH - 2], rtol=0, atol=1e-7).all()
    assert same == TEXT_FAMILIES[name].causal


@pytest.mark.parametrize("dtype", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
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
