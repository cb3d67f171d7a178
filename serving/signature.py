"""One signature of a served model: the names, dtypes and shapes that go in and come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2


@dataclass(frozen=True)
class Signature:
    """What a signature takes and returns; the key of each spec is the name used in requests.

    Args:
        inputs: Spec of each input by name.
        outputs: Spec of each output by name.
    """

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]

    @classmethod
    def from_proto(cls, signature: meta_graph_pb2.SignatureDef) -> Signature:
        """Reads the `SignatureDef` of a SavedModel, or of a GetModelMetadata response."""
        return cls(inputs=_specs(signature.inputs), outputs=_specs(signature.outputs))

    def __str__(self) -> str:
        return f"({describe(self.inputs)}) -> ({describe(self.outputs)})"


def describe(specs: Mapping[str, tf.TensorSpec]) -> str:
    """Writes specs as a reader expects them: `history: int64 [?, 50], query: string [?]`."""
    return ", ".join(f"{name}: {spec.dtype.name} {describe_shape(spec.shape)}" for name, spec in specs.items())


def describe_shape(shape: tf.TensorShape) -> str:
    """Writes a shape as `[?, 50]`; of unknown rank as `[...]`."""
    if shape.rank is None:
        return "[...]"
    return "[" + ", ".join("?" if size is None else str(size) for size in shape.as_list()) + "]"


def _specs(tensors: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, tf.TensorSpec]:
    """Turns `TensorInfo` by name into specs, sorted by name: a proto map has no order of its own."""
    return {
        name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name=name)
        for name, info in sorted(tensors.items())
    }
