"""What saved_model.pb says, and which calls it allows."""

from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import ExportError
from mim_tf.export.gate import Case
from mim_tf.export.gate.saved_graph import SavedGraph
from tests.export.gate.toy_models import edit, save_scorer


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> SavedGraph:
    return SavedGraph.read(save_scorer(tmp_path_factory.mktemp("scorer") / "model"))


def test_signatures_are_those_that_requests_can_name(graph: SavedGraph) -> None:
    assert "__saved_model_init_op" in graph.proto.signature_def
    assert list(graph.signatures) == ["lookup", "predict", "serving_default", "upsert"]


def test_a_call_asks_for_all_outputs(graph: SavedGraph) -> None:
    x, name = np.zeros([1, 3], np.float32), np.array(["ö"])
    call = graph.call(Case("predict", {"x": x, "name": name}, {"key": name}))
    assert sorted(call.fetches) == ["key", "score"]
    assert call.feeds == {"name": "predict_name:0", "x": "predict_x:0"}
    assert call.inputs["name"].tolist() == ["ö".encode()]


ID = np.zeros([1], np.int64)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            Case("rank", {}, {}),
            r"`signature` must be one of lookup, predict, serving_default, upsert\. Received: rank\.",
        ),
        (
            Case("__saved_model_init_op", {}, {}),
            r"`signature` must be one of lookup, .*Received: __saved_model_init_op\.",
        ),
        (Case("lookup", {}, {"value": ID}), r"`inputs` of lookup must be id\. Received: none\."),
        (Case("lookup", {"id": ID, "x": ID}, {"value": ID}), r"`inputs` of lookup must be id\. Received: id, x\."),
        (Case("lookup", {"id": ID}, {"held": ID}), r"`expected` of lookup must be some of value\. Received: held\."),
        (Case("lookup", {"id": ID + 0.5}, {"value": ID}), r"`id` of lookup must be int64\. Received: float64\."),
        (Case("lookup", {"id": np.array(["1"])}, {"value": ID}), r"`id` of lookup must be int64\. Received: object\."),
    ],
)
def test_a_case_that_does_not_fit_is_refused(graph: SavedGraph, case: Case, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph.call(case)


def test_what_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"must hold a SavedModel\. Received: .*No such file"):
        SavedGraph.read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(ExportError, match=r"must hold a SavedModel\. Received: Error parsing message"):
        SavedGraph.read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ExportError, match=r"must hold a graph with the tag 'serve'\. Received: no such graph\."):
        SavedGraph.read(tmp_path)


def test_a_graph_for_training_alone_is_not_served(tmp_path: Path) -> None:
    folder = save_scorer(tmp_path / "model")
    edit(folder, lambda model: model.meta_graphs[0].meta_info_def.tags.__setitem__(0, "train"))
    with pytest.raises(ExportError, match=r"must hold a graph with the tag 'serve'"):
        SavedGraph.read(folder)
