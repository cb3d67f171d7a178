"""The checks every interest layer shares, seen through the layers a caller meets them in."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import DIN, AveragePooling, ContentInterest
from mim_tf.interest.behaviours import weighted_sum

pytestmark = pytest.mark.both_kerases
LAYERS = pytest.mark.parametrize("make", [AveragePooling, DIN, ContentInterest])


def test_weighted_sum() -> None:
    # 2 (1, 10) - 1 (3, 30) + 0.5 (4, 0)
    output = weighted_sum(tf.constant([[2.0, -1.0, 0.5]]), tf.constant([[[1.0, 10.0], [3.0, 30.0], [4.0, 0.0]]]))
    np.testing.assert_allclose(output, [[1.0, -10.0]])


@LAYERS
@pytest.mark.parametrize(
    ("target", "history", "mask", "message"),
    [
        ((2, 4), (2, 5, 3), None, r"same batch size and last dimension. Received: shapes \(2, 4\) and \(2, 5, 3\)"),
        ((3, 4), (2, 5, 4), None, r"same batch size and last dimension. Received: shapes \(3, 4\) and \(2, 5, 4\)"),
        (
            (3, 9, 4),
            (2, 5, 4),
            None,
            r"same batch size and last dimension. Received: shapes \(3, 9, 4\) and \(2, 5, 4\)",
        ),
        (
            (2, 1, 1, 4),
            (2, 5, 4),
            None,
            r"`target\w*` must have the shape \[batch, dim\] or \[batch, candidates, dim\]. Received: .*2, 1, 1, 4\)",
        ),
        ((2, 4), (2, 4), None, r"`history\w*` must have the shape \[batch, length, dim\]. Received: shape \(2, 4\)"),
        ((2, 4), (2, 5, 4), (2, 6), r"`mask` must have the shape .* \(2, 5\). Received: shape \(2, 6\)"),
        ((2, 4), (2, 5, 4), (2,), r"`mask` must have the shape .* \(2, 5\). Received: shape \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit(make: Any, target: Any, history: Any, mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(tf.zeros(target), tf.zeros(history), mask=None if mask is None else tf.ones(mask, tf.bool))


@LAYERS
def test_ids_in_place_of_embeddings(make: Any) -> None:
    with pytest.raises(TypeError, match=r"`history\w*` must be floating point. Received: dtype int64"):
        make()(tf.zeros([2, 4]), tf.zeros([2, 5, 4], tf.int64))


@LAYERS
def test_numbers_in_place_of_a_mask(make: Any) -> None:
    with pytest.raises(TypeError, match=r"`mask` must be boolean. Received: dtype float32"):
        make()(tf.zeros([2, 4]), tf.zeros([2, 5, 4]), mask=tf.ones([2, 5]))


@LAYERS
def test_numpy_arrays_and_half_precision_rows_are_taken(make: Any) -> None:
    rng = np.random.default_rng(1)
    target, history = rng.normal(size=(2, 4)).astype(np.float16), rng.normal(size=(2, 5, 4)).astype(np.float16)
    layer = make()
    output = layer(target, history, mask=np.ones((2, 5), bool))
    assert output.dtype == tf.float32
    np.testing.assert_array_equal(output, layer(tf.cast(target, tf.float32), tf.cast(history, tf.float32)))


@LAYERS
def test_masks_that_keras_attached_are_neither_read_nor_passed_on(make: Any) -> None:
    embedding = keras.layers.Embedding(10, 4, mask_zero=True)
    entries = {
        "target": keras.Input([], name="target", dtype="int64"),
        "history": keras.Input([None], name="history", dtype="int64"),
        "mask": keras.Input([None], name="mask", dtype="bool"),
    }
    layer = make()
    output = layer(embedding(entries["target"]), embedding(entries["history"]), mask=entries["mask"])
    model = keras.Model(entries, output)
    ids = {"target": np.array([3, 0]), "history": np.array([[1, 2, 0], [4, 0, 0]])}
    mask = np.array([[True, False, True], [True, True, False]])
    output = model({**ids, "mask": mask})
    assert getattr(output, "_keras_mask", None) is None
    table = embedding.get_weights()[0]
    np.testing.assert_allclose(output, layer(table[ids["target"]], table[ids["history"]], mask=mask), rtol=1e-5)
