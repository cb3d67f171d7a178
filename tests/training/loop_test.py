"""The loop of the contrastive stages: it minimises, continues after an interruption, and shows in TensorBoard."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mim_tf.errors import StageError
from mim_tf.training.loop import STEPS_PER_LOOP, train

TARGET = np.array([1.0, -2.0], np.float32)


class Quadratic(keras.Model):
    """`|w - target|^2`, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.w = self.add_weight(shape=(2,), initializer="zeros", name="w")
        self.built = True
        self.asked = tf.Variable(0, trainable=False)

    def losses_of(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        self.asked.assign_add(1)
        return {"loss": tf.reduce_sum((self.w - TARGET) ** 2), "step": tf.cast(batch["step"], tf.float32)}


def fit(model: keras.Model, steps: int, folder: Path) -> dict[str, float]:
    return train(
        model,
        lambda first_step: tf.data.Dataset.counter(first_step).map(lambda step: {"step": step}),
        steps=steps,
        learning_rate=0.1,
        weight_decay=0.0,
        checkpoints=folder / "checkpoints",
        tensorboard=folder / "tensorboard",
    )


def test_it_minimises_and_reports_the_means_of_the_last_loop(tmp_path: Path) -> None:
    model = Quadratic()
    metrics = fit(model, 4 * STEPS_PER_LOOP, tmp_path)
    np.testing.assert_allclose(model.w, TARGET, atol=0.05)
    assert metrics["steps"] == 4 * STEPS_PER_LOOP
    assert metrics["loss"] < 0.05
    assert metrics["step"] == 3.5 * STEPS_PER_LOOP - 0.5  # the mean of the last loop's: 60 .. 79


def test_an_interrupted_training_continues_where_it_stopped(tmp_path: Path) -> None:
    first = Quadratic()
    fit(first, 2 * STEPS_PER_LOOP, tmp_path)
    second = Quadratic()
    fit(second, 5 * STEPS_PER_LOOP, tmp_path)
    assert int(second.asked) == int(first.asked) + 3 * STEPS_PER_LOOP  # restored with the model
    np.testing.assert_allclose(second.w, TARGET, atol=0.05)
    steps = EventAccumulator(str(tmp_path / "tensorboard"))
    steps.Reload()
    means = [float(tf.make_ndarray(event.tensor_proto)) for event in steps.Tensors("step")]
    assert means == [(loop + 0.5) * STEPS_PER_LOOP - 0.5 for loop in range(5)]  # no batch twice, none left out

    finished = Quadratic()
    fit(finished, 5 * STEPS_PER_LOOP, tmp_path)
    np.testing.assert_array_equal(finished.w, second.w)


def test_tensorboard_shows_every_scalar(tmp_path: Path) -> None:
    fit(Quadratic(), 2 * STEPS_PER_LOOP, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "step", "steps_per_second"} <= set(events.Tags()["tensors"])
    assert [event.step for event in events.Tensors("loss")] == [STEPS_PER_LOOP, 2 * STEPS_PER_LOOP]


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    model = Quadratic()
    model.w.assign([np.nan, 0.0])
    with pytest.raises(StageError, match=r"the loss is nan at step \d+\. Lower the learning rate"):
        fit(model, STEPS_PER_LOOP, tmp_path)


class Indifferent(keras.Model):
    """A projection by heads and a norm, of which the loss does not depend."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = keras.layers.EinsumDense("bd,dhk->bhk", (2, 3), bias_axes="hk", bias_initializer="ones")
        self.projection.build((None, 4))
        self.norm = keras.layers.LayerNormalization()
        self.norm.build((None, 4))
        self.built = True

    def losses_of(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"loss": tf.add_n([0.0 * tf.reduce_sum(variable) for variable in self.trainable_variables])}


def test_decay_shrinks_matrices_and_spares_biases_and_norms(tmp_path: Path) -> None:
    model = Indifferent()
    before = np.array(model.projection.kernel)
    train(
        model,
        lambda first_step: tf.data.Dataset.counter(first_step).map(lambda step: {"step": step}),
        steps=STEPS_PER_LOOP,
        learning_rate=0.1,
        weight_decay=0.5,
        checkpoints=tmp_path / "checkpoints",
        tensorboard=tmp_path / "tensorboard",
    )
    assert (np.abs(model.projection.kernel) < 0.9 * np.abs(before)).all()
    np.testing.assert_array_equal(model.projection.bias, np.ones((2, 3)))
    np.testing.assert_array_equal(model.norm.gamma, np.ones(4))
