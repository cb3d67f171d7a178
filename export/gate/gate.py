"""The gate: a SavedModel that fails one of its checks is not published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mim_tf.errors import ExportError
from mim_tf.export.gate.answers import answers_of
from mim_tf.export.gate.c_api import NoProgramError, c_api_runner
from mim_tf.export.gate.call_file import Call
from mim_tf.export.gate.case import Case
from mim_tf.export.gate.reload import python_runner
from mim_tf.export.gate.report import GateReport
from mim_tf.export.gate.runner import Runner, RunnerError
from mim_tf.export.gate.saved_graph import SavedGraph
from mim_tf.export.gate.sizes import Sizes, misplaced
from mim_tf.export.gate.stock_ops import foreign_ops

_MIB = 2**20


def check_model(
    folder: Path,
    cases: Sequence[Case],
    tolerance: float = 1e-5,
    *,
    text_ops: bool = False,
    largest_constant: int = _MIB,
    largest_graph: int = 64 * _MIB,
    timeout: float = 600.0,
) -> GateReport:
    """Check a SavedModel as a server will run it.

    - `sizes`: nothing large is a constant of the graph, and the files are all there and nowhere else.
    - `cases`: the model has the signatures, inputs and outputs of the cases.
    - `stock ops`: stock TensorFlow has every op.
    - `reload`: a fresh process with TensorFlow's Python alone answers the cases as the training model did.
    - `C API`: so does TensorFlow's C API without Python. It is skipped where there is no C++ compiler.

    Args:
        folder: of the SavedModel.
        cases: calls and what the training model answers. Each process makes them in their order on a model of its own,
            so that what one case changes, the next finds changed.
        tolerance: greatest absolute difference of floats.
        text_ops: whether TF Text's ops are allowed, which stock TF Serving has too.
        largest_constant: bytes that a node of the graph may have.
        largest_graph: bytes that saved_model.pb may have.
        timeout: seconds that each process may take.

    Returns:
        What was found.

    Raises:
        ExportError: all that failed, a line each.
        ValueError: there are no cases.
    """
    if not cases:
        raise ValueError("`cases` must hold at least one case. Received: none.")
    graph, skipped = SavedGraph.read(folder), {}
    runners = {"reload": python_runner(text_ops=text_ops, timeout=timeout)}
    try:
        runners["C API"] = c_api_runner(text_ops=text_ops, timeout=timeout)
    except NoProgramError as error:
        skipped["C API"] = str(error)
    calls, unfit = _calls(graph, cases)
    problems = {
        "sizes": misplaced(folder, graph, largest_constant=largest_constant, largest_graph=largest_graph),
        "cases": unfit,
        "stock ops": _foreign_ops(graph, list(runners.values())[-1]),  # the program, if there is one, starts sooner
    }
    differences = {}
    for check, runner in runners.items() if not unfit else ():
        differences[check], problems[check] = answers_of(runner, folder, zip(cases, calls, strict=True), tolerance)
    _raise_failed(folder, problems)
    untested = sorted(set(graph.signatures) - {case.signature for case in cases})
    return GateReport(list(problems), skipped, Sizes.of(folder, graph), differences, untested)


def _calls(graph: SavedGraph, cases: Sequence[Case]) -> tuple[list[Call], list[str]]:
    """The cases as calls, and what is wrong with those that are none."""
    calls, unfit = [], []
    for number, case in enumerate(cases, 1):
        try:
            calls.append(graph.call(case))
        except ValueError as error:
            unfit.append(f"case {number}: {error}")
        if not case.expected:
            unfit.append(f"case {number}: `expected` must name an output of {case.signature}. Received: none.")
    return calls, unfit


def _foreign_ops(graph: SavedGraph, runner: Runner) -> list[str]:
    try:
        return foreign_ops(graph, runner.registered_ops())
    except RunnerError as error:
        return [str(error)]


def _raise_failed(folder: Path, problems: dict[str, list[str]]) -> None:
    failed = [f"{check}: {problem}" for check, found in problems.items() for problem in found]
    if failed:
        # TensorFlow's messages may have several lines.
        lines = [problem.replace("\n", "\n    ") for problem in failed]
        raise ExportError("\n  ".join([f"{folder} must not be published:", *lines]))
