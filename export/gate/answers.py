"""What a SavedModel answered, beside what the training model did."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mim_tf.export.gate.call_file import Call, Result
from mim_tf.export.gate.case import Case
from mim_tf.export.gate.comparison import compare
from mim_tf.export.gate.runner import Runner, RunnerError


class Answers(NamedTuple):
    """How the answers of one process compare.

    Args:
        differences: the greatest over all cases, by signature and output.
        problems: a sentence per output that is wrong, and per call that failed.
    """

    differences: dict[str, dict[str, float]]
    problems: list[str]


def answers_of(runner: Runner, folder: Path, calls: Iterable[tuple[Case, Call]], tolerance: float) -> Answers:
    """Have a process answer cases, in their order, and compare.

    Args:
        runner: of the process.
        folder: of the SavedModel.
        calls: each case and the call that it is.
        tolerance: greatest absolute difference of floats.
    """
    cases, asked = zip(*calls, strict=True)
    try:
        results = runner.run(folder, asked)
    except RunnerError as error:
        return Answers({}, [str(error)])
    answers = Answers({}, [])
    for number, (case, result) in enumerate(zip(cases, results, strict=True), 1):
        _compare(answers, f"case {number}", case, result, tolerance)
    return answers


def _compare(answers: Answers, which: str, case: Case, result: Result, tolerance: float) -> None:
    if result.error:
        answers.problems.append(f"{which}, {case.signature}: {result.error}")
        return
    differences = answers.differences.setdefault(case.signature, {})
    for output, expected in case.expected.items():
        comparison = compare(expected, result.outputs[output], tolerance)
        differences[output] = max(comparison.difference, differences.get(output, 0.0))
        if comparison.problem:
            answers.problems.append(f"{which}, {case.signature}.{output}: {comparison.problem}")
