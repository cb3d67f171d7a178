"""Signatures called with flat tensors: TensorFlow 2's, and those of TensorFlow 1, whose tensors have other names."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mim_tf.serving.server.signature_call import SignatureCall
from mim_tf.serving.signature import Signature


class Difference(tf.Module):
    """`b - a` and `a`, and how often it was asked; inputs and outputs stand in no order of names."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "b"), tf.TensorSpec([None], tf.int32, "a")])
    def subtract(self, b: tf.Tensor, a: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_less_equal(a, b, message="b is too small")
        return {"z": b - a, "asked": self.asked.assign_add(1), "first": a}


def save_in_the_way_of_tensorflow_1(folder: Path) -> None:
    """The input `x` is fed to the placeholder `second`, and `y` to `first`."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x, y = v1.placeholder(tf.int32, [None], "second"), v1.placeholder(tf.int32, [None], "first")
        v1.saved_model.simple_save(session, str(folder), inputs={"x": x, "y": y}, outputs={"z": x - y})


def call(folder: Path, key: str) -> SignatureCall:
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = Signature.from_proto(saved.meta_graphs[0].signature_def[key])
    model = tf.saved_model.load(str(folder))
    call = SignatureCall(model.signatures[key], signature)
    call.model = model  # type: ignore[attr-defined]  # keeps its variables
    return call


@pytest.fixture(scope="module")
def subtract(tmp_path_factory: pytest.TempPathFactory) -> SignatureCall:
    folder = tmp_path_factory.mktemp("difference")
    tf.saved_model.save(difference := Difference(), str(folder), signatures={"subtract": difference.subtract})
    return call(folder, "subtract")


def test_inputs_and_outputs_keep_their_names_and_state_is_kept(subtract: SignatureCall) -> None:
    for time in (1, 2):
        answer = subtract({"b": tf.constant([7, 9]), "a": tf.constant([2, 3])})
        np.testing.assert_array_equal(answer["z"], [5, 6])
        np.testing.assert_array_equal(answer["first"], [2, 3])
        assert answer["asked"] == time


def test_what_the_graph_raises_is_raised(subtract: SignatureCall) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="b is too small"):
        subtract({"b": tf.constant([1]), "a": tf.constant([2])})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_of_tensorflow_1_keeps_its_names_too(tmp_path: Path) -> None:
    save_in_the_way_of_tensorflow_1(tmp_path / "1")
    answer = call(tmp_path / "1", "serving_default")({"x": tf.constant([7]), "y": tf.constant([2])})
    np.testing.assert_array_equal(answer["z"], [5])
