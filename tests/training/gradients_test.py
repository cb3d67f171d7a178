"""Gradient caching against the whole batch in one piece, and dense gradients of embeddings."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.image_views import ImageViews
from mim_tf.training.gradients import Gradients, cached_gradients_of, gradients_of
from tests.finetuning.toy_csft import ROWS, examples, text, toy_csft, vision

OBJECTIVES: dict[str, Callable[[], Any]] = {
    "softmax": lambda: ImageText(vision(), text()),
    "sigmoid": lambda: ImageText(vision(), text(), loss="sigmoid"),
    "views": lambda: ImageViews(vision("convnext_toy")),
    "fine-tuning": toy_csft,
}


def batch_of(objective: Any) -> dict[str, tf.Tensor]:
    return objective.assemble(examples(0), tf.constant([1, 2]))


def assert_close(found: Gradients, expected: Gradients, objective: Any) -> None:
    scale = max(np.abs(gradient).max() for gradient in expected)
    assert scale > 1e-3
    for one, other, variable in zip(found, expected, objective.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale, err_msg=variable.path)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_chunks_give_the_gradients_of_the_whole(name: str) -> None:
    objective = OBJECTIVES[name]()
    batch = batch_of(objective)
    gradients, scalars = tf.function(lambda rows: gradients_of(objective, rows))(batch)
    for chunk_size in (1, ROWS) if name == "softmax" else (2,):
        chunked = tf.function(lambda rows, size=chunk_size: cached_gradients_of(objective, rows, size))
        found, its_scalars = chunked(batch)
        assert its_scalars.keys() == scalars.keys()
        for key, value in scalars.items():
            np.testing.assert_allclose(its_scalars[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
        assert_close(found, gradients, objective)


def test_batch_normalisation_moves_as_in_one_pass_over_the_chunks() -> None:
    objective = ImageViews(vision("resnet_toy"))
    batch = batch_of(objective)
    moving = [variable for variable in objective.non_trainable_variables if "moving" in variable.path]
    start = [variable.numpy() for variable in moving]
    for rows in range(0, ROWS, 4):
        objective.embed({name: value[rows : rows + 4] for name, value in batch.items()}, training=True)
    expected = [variable.numpy() for variable in moving]
    for variable, value in zip(moving, start, strict=True):
        variable.assign(value)
    tf.function(lambda rows: cached_gradients_of(objective, rows, 4))(batch)
    assert moving
    for variable, value, before in zip(moving, expected, start, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-5, err_msg=variable.path)
        assert not np.array_equal(value, before)


class Lookup(keras.Model):
    """`L = mean of (sum of an embedding)^2 / 2`, of which the gradient of row r is its count times its sum."""

    def __init__(self) -> None:
        super().__init__()
        self.table = self.add_weight(shape=(4, 2), initializer="ones", name="table")
        self.idle = self.add_weight(shape=(3,), initializer="ones", name="idle")
        self.built = True

    def embed(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        return tf.gather(self.table.value, batch["row"])[:, tf.newaxis]

    def contrast(self, embeddings: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"loss": tf.reduce_sum(tf.reduce_sum(embeddings, axis=(1, 2)) ** 2) / 2}

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        return self.contrast(self.embed(batch, training), batch)


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_gradients_of_embeddings_are_dense_and_what_has_no_part_has_zero(chunk_size: int | None) -> None:
    batch = {"row": tf.constant([1, 3, 1, 1])}
    objective = Lookup()
    if chunk_size:
        (table, idle), _ = cached_gradients_of(objective, batch, chunk_size)
    else:
        (table, idle), _ = gradients_of(objective, batch)
    assert isinstance(table, tf.Tensor)
    np.testing.assert_array_equal(table, [[0, 0], [6, 6], [0, 0], [2, 2]])  # 3 times 1 + 1, once 1 + 1
    np.testing.assert_array_equal(idle, [0, 0, 0])
