"""Row-sparse Adam against Adam and its lazy form in NumPy: which rows move, and by how much."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.row_sparse_adam import RowSparseAdam

pytestmark = pytest.mark.both_kerases

RATE, BETA_1, BETA_2, EPSILON = 0.1, 0.9, 0.999, 1e-7
ROWS, DIM = 11, 3
Slices = tuple[list[int], np.ndarray]


class LazyAdam:
    """The oracle: plain loops over rows, in double precision."""

    def __init__(self, table: np.ndarray, epsilon: float = EPSILON):
        self.table = table.astype(np.float64)
        self.m, self.v = np.zeros_like(self.table), np.zeros_like(self.table)
        self.epsilon, self.step = epsilon, 0

    def apply(self, rows: list[int], values: np.ndarray, rate: float = RATE) -> None:
        self.step += 1
        for row in set(rows):
            g = sum(value.astype(np.float64) for at, value in zip(rows, values, strict=True) if at == row)
            self.m[row] = BETA_1 * self.m[row] + (1 - BETA_1) * g
            self.v[row] = BETA_2 * self.v[row] + (1 - BETA_2) * g**2
            corrected = rate * np.sqrt(1 - BETA_2**self.step) / (1 - BETA_1**self.step)
            self.table[row] -= corrected * self.m[row] / (np.sqrt(self.v[row]) + self.epsilon)


def embedding() -> keras.layers.Embedding:
    layer = keras.layers.Embedding(ROWS, DIM)
    layer.build(None)
    layer.set_weights([np.random.default_rng(1).normal(size=(ROWS, DIM))])
    return layer


def slices_of(steps: int, least: int = 0, most: int = ROWS, size: int = 6) -> list[Slices]:
    """Per step some rows, which may occur twice or more, and their gradients."""
    rng = np.random.default_rng(2)
    return [
        (rng.integers(least, most, size).tolist(), rng.normal(size=(size, DIM)).astype(np.float32))
        for _ in range(steps)
    ]


def apply(optimizer: Any, layer: Any, rows: list[int], values: np.ndarray) -> None:
    gradient = tf.IndexedSlices(tf.constant(values), tf.constant(rows, tf.int64), tf.constant([ROWS, DIM]))
    optimizer.apply_gradients([(gradient, layer.trainable_variables[0])])


def table_of(layer: Any) -> np.ndarray:
    return layer.get_weights()[0]


def test_rows_touched_at_every_step_get_adam() -> None:
    sparse, dense = embedding(), embedding()
    ours, kerass = RowSparseAdam(RATE), keras.optimizers.Adam(RATE)
    for _, values in slices_of(20, size=ROWS):
        apply(ours, sparse, list(range(ROWS)), values)
        kerass.apply_gradients([(tf.constant(values), dense.trainable_variables[0])])
    np.testing.assert_allclose(table_of(sparse), table_of(dense), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("epsilons", "epsilon"), [({}, EPSILON), ({"bedd": 0.5}, 0.5)])
def test_lazy_adam_with_duplicates(epsilons: dict[str, float], epsilon: float) -> None:
    layer = embedding()
    oracle, optimizer = LazyAdam(table_of(layer), epsilon), RowSparseAdam(RATE, epsilons)
    for rows, values in slices_of(30):
        apply(optimizer, layer, rows, values)
        oracle.apply(rows, values)
    np.testing.assert_allclose(table_of(layer), oracle.table, rtol=1e-4, atol=2e-5)


def test_rows_without_gradient_do_not_move() -> None:
    layer, optimizer = embedding(), RowSparseAdam(RATE)
    start = table_of(layer)
    apply(optimizer, layer, [0, 1, 5], np.ones((3, DIM), np.float32))
    once = table_of(layer)
    for rows, values in slices_of(5, least=4):
        apply(optimizer, layer, rows, values)
    np.testing.assert_array_equal(table_of(layer)[2:4], start[2:4])
    np.testing.assert_array_equal(table_of(layer)[:2], once[:2])  # though their moments are not zero
    assert np.all(once[:2] != start[:2])
    assert np.all(table_of(layer)[4:] != once[4:])


def test_dense_gradients_get_keras_adam() -> None:
    ours, kerass = embedding(), embedding()
    optimizers = RowSparseAdam(RATE, {"embedding": 0.5}), keras.optimizers.Adam(RATE)
    for _, values in slices_of(5, size=ROWS):
        for layer, optimizer in zip((ours, kerass), optimizers, strict=True):
            optimizer.apply_gradients([(tf.constant(values), layer.trainable_variables[0])])
    np.testing.assert_array_equal(table_of(ours), table_of(kerass))


def test_the_rate_follows_its_schedule() -> None:
    layer = embedding()
    schedule = keras.optimizers.schedules.ExponentialDecay(RATE, decay_steps=1, decay_rate=0.8)
    oracle, optimizer = LazyAdam(table_of(layer)), RowSparseAdam(schedule)
    for step, (rows, values) in enumerate(slices_of(10)):
        apply(optimizer, layer, rows, values)
        oracle.apply(rows, values, RATE * 0.8**step)
    np.testing.assert_allclose(table_of(layer), oracle.table, rtol=1e-4, atol=2e-5)


def test_fit() -> None:
    ids = np.arange(ROWS)[:, np.newaxis]  # each batch touches each row, so both are Adam
    trained = []
    for optimizer in (RowSparseAdam(RATE), keras.optimizers.Adam(RATE)):
        layer = embedding()
        tower = [keras.layers.Flatten(), keras.layers.Dense(1, kernel_initializer="ones")]
        model = keras.Sequential([keras.Input([1], dtype="int64"), layer, *tower])
        model.compile(optimizer, loss="mse")
        model.fit(ids, np.sin(np.arange(ROWS)), batch_size=ROWS, epochs=5, verbose=0)
        trained.append(table_of(layer))
    np.testing.assert_allclose(trained[0], trained[1], rtol=1e-5, atol=1e-5)
    assert np.abs(trained[0] - table_of(embedding())).min() > 0.01


def test_a_restored_training_goes_on_as_if_uninterrupted(tmp_path: Path) -> None:
    steps = slices_of(6)
    whole, begun, ended = embedding(), embedding(), embedding()
    optimizers = [RowSparseAdam(RATE, {"embedding": 0.05}) for _ in range(3)]
    for rows, values in steps:
        apply(optimizers[0], whole, rows, values)
    for rows, values in steps[:3]:
        apply(optimizers[1], begun, rows, values)
    path = tf.train.Checkpoint(layer=begun, optimizer=optimizers[1]).write(str(tmp_path / "checkpoint"))
    optimizers[2].build(ended.trainable_variables)
    tf.train.Checkpoint(layer=ended, optimizer=optimizers[2]).read(path).assert_consumed()
    for rows, values in steps[3:]:
        apply(optimizers[2], ended, rows, values)
    np.testing.assert_array_equal(table_of(ended), table_of(whole))


def test_the_configuration_round_trip() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(RATE, decay_steps=1, decay_rate=0.8)
    optimizer = RowSparseAdam(schedule, {"embedding": 0.05}, beta_1=0.8, epsilon=1e-5, name="rows")
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(restored, RowSparseAdam)
    assert restored.get_config() == optimizer.get_config()
    layers = embedding(), embedding()
    for rows, values in slices_of(5):
        apply(optimizer, layers[0], rows, values)
        apply(restored, layers[1], rows, values)
    np.testing.assert_array_equal(table_of(layers[0]), table_of(layers[1]))


def test_an_epsilon_for_no_variable_is_refused() -> None:
    optimizer = RowSparseAdam(RATE, {"other": 0.5})
    with pytest.raises(ValueError, match=r"`epsilons` must be of variables among .*embeddings.*Received: other\."):
        optimizer.build(embedding().trainable_variables)


def test_an_epsilon_is_above_zero() -> None:
    with pytest.raises(ValueError, match=r"`epsilons` must be above 0\. Received: \{'ids': 0\}\."):
        RowSparseAdam(epsilons={"ids": 0})


@pytest.mark.parametrize(("argument", "value"), [("amsgrad", True), ("weight_decay", 0.1), ("use_ema", True)])
def test_what_sweeps_a_table_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{argument}` must be left out, because it sweeps.*Received: {value}\."):
        RowSparseAdam(**{argument: value})
