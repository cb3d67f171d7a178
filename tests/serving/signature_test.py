"""What a reader sees of a signature."""

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from mim_tf.serving.signature import Signature, describe_shape


def test_reads_names_dtypes_and_shapes_of_a_proto() -> None:
    proto = meta_graph_pb2.SignatureDef()
    proto.inputs["query"].dtype = tf.string.as_datatype_enum
    proto.inputs["query"].tensor_shape.dim.add(size=-1)
    proto.inputs["history"].dtype = tf.int64.as_datatype_enum
    proto.inputs["history"].tensor_shape.dim.add(size=-1)
    proto.inputs["history"].tensor_shape.dim.add(size=50)
    proto.outputs["probability"].dtype = tf.float32.as_datatype_enum
    proto.outputs["probability"].tensor_shape.unknown_rank = True

    signature = Signature.from_proto(proto)

    assert signature.inputs["history"] == tf.TensorSpec([None, 50], tf.int64, "history")
    assert str(signature) == "(history: int64 [?, 50], query: string [?]) -> (probability: float32 [...])"


def test_a_scalar_has_an_empty_shape() -> None:
    assert describe_shape(tf.TensorShape([])) == "[]"
