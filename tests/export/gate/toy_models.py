"""SavedModels of a few ops, and what they must answer by arithmetic."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mim_tf.export.gate import Case

WEIGHTS = np.arange(6, dtype=np.float32).reshape(3, 2)  # [[0, 1], [2, 3], [4, 5]]


def save_scorer(folder: Path) -> Path:
    """A model of a variable, a hash table that `upsert` changes, and strings.

    ```
    predict  x [n, 3] float32, name [n] string -> score [n, 2] float32 = x WEIGHTS, key [n] string = name + NUL
    upsert   id [n], value [n] int64           -> held [n] int64: the values as they are afterwards
    lookup   id [n] int64                      -> value [n] int64, -1 where there is none
    ```
    """
    module = tf.Module()
    module.weights = tf.Variable(WEIGHTS)
    module.table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, empty_key=-1, deleted_key=-2)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x"), tf.TensorSpec([None], tf.string, "name")])
    def predict(x: tf.Tensor, name: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": x @ module.weights, "key": name + b"\0"}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name) for name in ("id", "value")])
    def upsert(id: tf.Tensor, value: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([module.table.insert(id, value)]):
            return {"held": module.table.lookup(id)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "id")])
    def lookup(id: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"value": module.table.lookup(id)}

    predict_function = predict.get_concrete_function()
    signatures = {"predict": predict_function, "serving_default": predict_function, "upsert": upsert, "lookup": lookup}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def scorer_cases() -> list[Case]:
    """Cases that `save_scorer`'s model passes; each table look-up depends on the upsert before."""
    x = np.array([[1, 0, 0], [0, 1, 2]], np.float32)
    names = np.array([b"\xff\xd8 a picture\0", b""], object)
    scores = np.array([[0, 1], [10, 13]], np.float32)  # the second: [2, 3] + 2 [4, 5]
    keys = np.array([b"\xff\xd8 a picture\0\0", b"\0"], object)

    def numbers(*values: int) -> np.ndarray:
        return np.array(values, np.int64)

    return [
        Case("predict", {"x": x, "name": names}, {"score": scores, "key": keys}),
        Case("predict", {"x": x[:0], "name": names[:0]}, {"score": scores[:0], "key": keys[:0]}),
        Case("serving_default", {"x": x, "name": names}, {"key": keys}),
        Case("lookup", {"id": numbers(7)}, {"value": numbers(-1)}),
        Case("upsert", {"id": numbers(7, 8), "value": numbers(70, 80)}, {"held": numbers(70, 80)}),
        Case("lookup", {"id": numbers(8, 7, 9)}, {"value": numbers(80, 70, -1)}),
        Case("upsert", {"id": numbers(7), "value": numbers(71)}, {"held": numbers(71)}),
        Case("lookup", {"id": numbers(7)}, {"value": numbers(71)}),
    ]


def save_function(folder: Path, function: Callable[..., dict[str, tf.Tensor]], **specs: tf.TensorSpec) -> Path:
    """A model of one signature, `serving_default`, without variables of its own."""
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
    signature = tf.function(lambda **inputs: function(**inputs)).get_concrete_function(**named)
    tf.saved_model.save(tf.Module(), str(folder), signatures=signature)
    return folder


def edit(folder: Path, change: Callable[[saved_model_pb2.SavedModel], None]) -> None:
    """Change a model's graph on disk."""
    path = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())
