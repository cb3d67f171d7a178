"""Which ops of a graph a stock server lacks, and what stock is."""

from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mim_tf.export.gate.reload import python_runner
from mim_tf.export.gate.runner import Runner
from mim_tf.export.gate.saved_graph import SavedGraph
from mim_tf.export.gate.stock_ops import foreign_ops
from tests.export.gate.toy_models import edit, save_function


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_function(tmp_path / "model", lambda x: {"y": tf.exp(x)}, x=tf.TensorSpec([None], tf.float32))


def rename(model: saved_model_pb2.SavedModel, op: str, name: str) -> None:
    graph = model.meta_graphs[0].graph_def
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            node.op = name if node.op == op else node.op


def test_an_op_inside_a_function_is_named(folder: Path) -> None:
    edit(folder, lambda model: rename(model, "Exp", "NotAnOp"))
    graph = SavedGraph.read(folder)
    used = {node.op for _, node in graph.nodes()}
    (problem,) = foreign_ops(graph, used - {"NotAnOp"})
    assert problem.startswith("NotAnOp is no op of stock TensorFlow: node Exp of function ")
    assert foreign_ops(graph, used) == []


def test_an_op_of_the_graph_itself_is_named_and_many_places_are_counted(folder: Path) -> None:
    def add(model: saved_model_pb2.SavedModel) -> None:
        for number in range(5):
            model.meta_graphs[0].graph_def.node.add(name=f"n{number}", op="NotAnOp")

    known = {node.op for _, node in SavedGraph.read(folder).nodes()}
    edit(folder, add)
    expected = "NotAnOp is no op of stock TensorFlow: node n0, node n1, node n2 and 2 more"
    assert foreign_ops(SavedGraph.read(folder), known) == [expected]


def test_a_function_of_the_graph_may_be_called_as_an_op(folder: Path) -> None:
    function = next(iter(SavedGraph.read(folder).functions))
    edit(folder, lambda model: rename(model, "Exp", function))
    graph = SavedGraph.read(folder)
    assert foreign_ops(graph, {node.op for _, node in graph.nodes()} - {function}) == []


def test_stock_is_what_a_process_without_other_libraries_has(program: Runner) -> None:
    """In this process TF Text is loaded, so its ops are registered here."""
    import tensorflow_text

    assert tensorflow_text.WhitespaceTokenizer()
    ops = program.registered_ops()
    assert {"MatMul", "LookupTableInsertV2", "StatefulPartitionedCall"} <= ops
    assert not [op for op in ops if "Text>" in op or "WordPiece" in op or op == "NotAnOp"]


@pytest.mark.slow
@pytest.mark.parametrize("text_ops", [False, True])
def test_pythons_process_has_them_too(program: Runner, text_ops: bool) -> None:
    python = python_runner(text_ops=text_ops)
    ops = Runner(program.command, python.libraries).registered_ops()
    assert ("TFText>WhitespaceTokenizeWithOffsetsV2" in ops) == text_ops
    pythons = python.registered_ops()
    assert ops <= pythons
    more = pythons - ops
    assert {"FiveFloatOutputs", "TestAttr"} <= more  # of TensorFlow's own tests, as all but a few are
    assert len(more) < 150
