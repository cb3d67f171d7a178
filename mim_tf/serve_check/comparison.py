"""What each way answered, beside the training model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mim_tf.export.gate.comparison import compare
from mim_tf.serve_check.exported import Exported
from mim_tf.serve_check.ways import Way

_TOLERANCE = 1e-5  # of floats; probabilities are float32, embeddings are of norms about 1
_WIDTH = 15


class Report(NamedTuple):
    """The comparison.

    Args:
        ways: their names.
        differences: the greatest over all requests, by `folder/model.signature.output` and way.
        problems: a sentence per answer that is wrong or did not come.
    """

    ways: Sequence[str]
    differences: Mapping[str, Mapping[str, float]]
    problems: Sequence[str]

    def table(self) -> str:
        """A line per output with the greatest difference of each way."""
        width = max(map(len, self.differences), default=0)
        lines = [" ".join([" " * width, *(f"{way:>{_WIDTH}}" for way in self.ways)])]
        for output, found in self.differences.items():
            numbers = [f"{found[way]:.1e}" if way in found else "-" for way in self.ways]
            lines.append(" ".join([f"{output:<{width}}", *(f"{number:>{_WIDTH}}" for number in numbers)]))
        return "\n".join(lines)


def compared(models: Sequence[Exported], ways: Sequence[Way]) -> Report:
    """Ask all models in all ways."""
    differences: dict[str, dict[str, float]] = {}
    problems = []
    for model in models:
        for way in ways:
            for output, difference, problem in _answers(model, way):
                found = differences.setdefault(output, {})
                found[way.name] = max(found.get(way.name, 0.0), difference)
                problems += [f"{way.name}: {output}: {problem}"] if problem else []
    return Report([way.name for way in ways], differences, problems)


def _answers(model: Exported, way: Way) -> Iterator[tuple[str, float, str]]:
    """Each output's name, its difference, and what is wrong with it."""
    for number, (case, result) in enumerate(zip(model.cases, way.answers(model), strict=True), 1):
        for output, expected in case.expected.items():
            name = f"{model.label}.{case.signature}.{output}"
            if result is None:
                continue
            if result.error or output not in result.outputs:
                yield name, float("inf"), f"request {number}: {result.error or 'it is not in the answer'}"
            else:
                difference, problem = compare(expected, result.outputs[output], _TOLERANCE)
                yield name, difference, problem and f"request {number}: {problem}"
