"""What saved_model.pb holds: the graph, its functions, its signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from mim_tf.errors import ExportError
from mim_tf.export.gate.call_file import Call, as_tensor_values
from mim_tf.export.gate.case import Case

_TAG = "serve"

# TensorFlow's saver writes the graph's initialisation as a signature that no request can name.
_INTERNAL = frozenset({"__saved_model_init_op", "__saved_model_train_op"})


@dataclass(frozen=True)
class SavedGraph:
    """The part of a SavedModel that is served.

    Args:
        proto: the meta graph.
    """

    proto: meta_graph_pb2.MetaGraphDef

    @classmethod
    def read(cls, folder: Path) -> SavedGraph:
        """Read `folder`/saved_model.pb; variables are not read.

        Raises:
            ExportError: there is none, it cannot be read, or nothing in it is for serving.
        """
        try:
            model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        except (OSError, DecodeError) as error:
            raise ExportError(f"{folder} must hold a SavedModel. Received: {error}.") from error
        for graph in model.meta_graphs:
            if _TAG in graph.meta_info_def.tags:
                return cls(graph)
        raise ExportError(f"{folder} must hold a graph with the tag {_TAG!r}. Received: no such graph.")

    @property
    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """The signatures that requests can name."""
        return {name: each for name, each in sorted(self.proto.signature_def.items()) if name not in _INTERNAL}

    @property
    def functions(self) -> frozenset[str]:
        """The names of the graph's own functions, which a node may have for its op."""
        return frozenset(function.signature.name for function in self.proto.graph_def.library.function)

    def nodes(self) -> Iterator[tuple[str, node_def_pb2.NodeDef]]:
        """All nodes and where they are, those of functions included."""
        for node in self.proto.graph_def.node:
            yield f"node {node.name}", node
        for function in self.proto.graph_def.library.function:
            for node in function.node_def:
                yield f"node {node.name} of function {function.signature.name}", node

    def call(self, case: Case) -> Call:
        """`case` as a call that asks for all outputs of its signature, since servers do.

        Raises:
            ValueError: there is no such signature, input or output, an input is missing, or it has another dtype.
        """
        if case.signature not in self.signatures:
            known = ", ".join(self.signatures)
            raise ValueError(f"`signature` must be one of {known}. Received: {case.signature}.")
        signature = self.signatures[case.signature]
        if set(case.inputs) != set(signature.inputs):
            names, received = _listed(signature.inputs), _listed(case.inputs)
            raise ValueError(f"`inputs` of {case.signature} must be {names}. Received: {received}.")
        if not set(case.expected) <= set(signature.outputs):
            names, received = _listed(signature.outputs), _listed(case.expected)
            raise ValueError(f"`expected` of {case.signature} must be some of {names}. Received: {received}.")
        inputs = {name: as_tensor_values(case.inputs[name]) for name in sorted(case.inputs)}
        for name, values in inputs.items():
            dtype = tf.as_dtype(signature.inputs[name].dtype)
            if values.dtype != dtype.as_numpy_dtype:
                raise ValueError(f"`{name}` of {case.signature} must be {dtype.name}. Received: {values.dtype}.")
        feeds = {name: signature.inputs[name].name for name in inputs}
        fetches = {name: signature.outputs[name].name for name in sorted(signature.outputs)}
        return Call(case.signature, inputs, feeds, fetches)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"
