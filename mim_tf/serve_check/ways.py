"""The ways to ask a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mim_tf.export.gate.c_api import NoProgramError, c_api_runner
from mim_tf.export.gate.call_file import Result
from mim_tf.export.gate.reload import python_runner
from mim_tf.export.gate.runner import Runner
from mim_tf.export.gate.saved_graph import SavedGraph
from mim_tf.serve_check.exported import Exported
from mim_tf.serve_check.model_server import Addresses, find_model_server, model_server, stand_in
from mim_tf.serve_check.over_grpc import grpc_answers
from mim_tf.serve_check.over_rest import rest_answers

_Server = Callable[[Path], AbstractContextManager[Addresses]]


class Way(NamedTuple):
    """How models are asked.

    Args:
        name: for people.
        answers: a result for each case of a model, in their order; None where this way has no such calls.
    """

    name: str
    answers: Callable[[Exported], Sequence[Result | None]]


@contextmanager
def all_ways(folder: Path) -> Iterator[tuple[list[Way], list[str]]]:
    """All ways to ask models that `export_all` exported to `folder`, and why others are left out."""
    ways, skipped = [Way("reloaded", _in_process(lambda text_ops: python_runner(text_ops=text_ops)))], []
    try:
        c_api_runner(text_ops=False)
        ways.append(Way("C API", _in_process(lambda text_ops: c_api_runner(text_ops=text_ops))))
    except NoProgramError as error:
        skipped.append(f"C API: {error}")
    with ExitStack() as running:
        ways += _of_server("stand-in", running, folder, stand_in)
        if find_model_server() is None:
            skipped.append("TF Serving: no tensorflow_model_server on the PATH or in TENSORFLOW_MODEL_SERVER")
        else:
            ways += _of_server("TF Serving", running, folder, model_server)
        yield ways, skipped


def _in_process(runner: Callable[[bool], Runner]) -> Callable[[Exported], Sequence[Result]]:
    def answers(model: Exported) -> Sequence[Result]:
        graph = SavedGraph.read(model.folder)
        return runner(model.text_ops).run(model.folder, [graph.call(case) for case in model.cases])

    return answers


def _of_server(name: str, running: ExitStack, folder: Path, server: _Server) -> list[Way]:
    """A server for each folder of models; they are asked by gRPC and by REST."""
    addresses = {part: running.enter_context(server(part)) for part in sorted(folder.iterdir()) if part.is_dir()}

    def over_grpc(model: Exported) -> Sequence[Result]:
        return grpc_answers(addresses[model.folder.parent.parent].grpc, model)

    def over_rest(model: Exported) -> Sequence[Result | None]:
        return rest_answers(addresses[model.folder.parent.parent].rest, model)

    return [Way(f"{name} gRPC", over_grpc), Way(f"{name} REST", over_rest)]
