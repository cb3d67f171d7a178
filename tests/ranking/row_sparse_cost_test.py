"""No operation of a row-sparse step is as large as a table."""

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.hashed_embedding import HashedEmbedding
from mim_tf.ranking.row_sparse_adam import RowSparseAdam

ROWS = 997  # nothing else here has this size


def whole_tables(function: Callable[[], Any]) -> list[str]:
    """The operations of a traced function that make a tensor of a table's size: they read or copy the whole of it."""
    graph = tf.function(function).get_concrete_function().graph
    return [
        operation.name
        for operation in graph.get_operations()
        for tensor in operation.outputs
        if tensor.shape.rank and tensor.shape[0] == ROWS
    ]


@pytest.mark.both_kerases
@pytest.mark.parametrize(("make", "sweeps"), [(RowSparseAdam, False), (keras.optimizers.Adam, True)])
def test_a_step_makes_no_tensor_of_a_tables_size(make: Callable[[], Any], sweeps: bool) -> None:
    optimizer, layer = make(), keras.layers.Embedding(ROWS, 3)
    layer.build(None)
    optimizer.build(layer.trainable_variables)
    slices = tf.IndexedSlices(tf.ones([5, 3]), tf.constant([3, 1, 996, 3, 3]), tf.constant([ROWS, 3]))
    found = whole_tables(lambda: optimizer.apply_gradients([(slices, layer.trainable_variables[0])]))
    assert bool(found) == sweeps, found


@pytest.mark.legacy_keras
def test_nor_does_a_training_step() -> None:
    optimizer, layer = RowSparseAdam(), HashedEmbedding(ROWS, 3)
    layer.build(None)
    optimizer.build(layer.trainable_variables)

    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(tf.range(5))) ** 2 + tf.reduce_sum(layer(tf.range(7)))
        (table,) = layer.trainable_variables
        optimizer.apply_gradients([(tape.gradient(loss, table), table)])

    assert whole_tables(step) == []
