"""What the gate found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mim_tf.export.gate.sizes import Sizes


@dataclass(frozen=True)
class GateReport:
    """A SavedModel that passed.

    Args:
        passed: the checks that ran.
        skipped: why a check did not run, by check.
        sizes: of the model.
        differences: the greatest difference to the training model, by check, signature and output.
        untested: the signatures that no case called.
    """

    passed: Sequence[str]
    skipped: Mapping[str, str]
    sizes: Sizes
    differences: Mapping[str, Mapping[str, Mapping[str, float]]]
    untested: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """As a dict of plain values, for the provenance beside the model."""
        return {
            "passed": list(self.passed),
            "skipped": dict(self.skipped),
            "sizes": self.sizes._asdict(),
            "differences": {
                check: {signature: dict(outputs) for signature, outputs in signatures.items()}
                for check, signatures in self.differences.items()
            },
            "untested": list(self.untested),
        }

    @property
    def summary(self) -> str:
        """One line: what passed, how far the answers were off, and what did not run."""
        found = [value for check in self.differences.values() for each in check.values() for value in each.values()]
        skipped = "".join(f"; {check} skipped: {reason}" for check, reason in self.skipped.items())
        return f"passed {', '.join(self.passed)}; greatest difference {max(found, default=0.0):.2g}{skipped}"

    def __str__(self) -> str:
        sizes = self.sizes
        lines = [f"passed     {', '.join(self.passed)}"]
        lines += [f"skipped    {check}: {reason}" for check, reason in self.skipped.items()]
        lines += [f"untested   {', '.join(self.untested)}"] if self.untested else []
        lines += [f"bytes      graph {sizes.graph:,}, variables {sizes.variables:,}, assets {sizes.assets:,}"]
        lines += [f"nodes      {sizes.nodes:,}", *self._table()]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        """The greatest differences, a line per output and a column per check."""
        outputs = {(name, output) for each in self.differences.values() for name in each for output in each[name]}
        names = {key: ".".join(key) for key in sorted(outputs)}
        width = max(map(len, names.values()), default=0)
        lines = [" ".join([f"{'difference':<{width}}", *(f"{check:>10}" for check in self.differences)])]
        for (signature, output), name in names.items():
            found = [each[signature][output] for each in self.differences.values()]
            lines.append(" ".join([f"{name:<{width}}", *(f"{difference:>10.2g}" for difference in found)]))
        return lines if names else []
