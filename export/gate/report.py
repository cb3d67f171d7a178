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
            "greatest_difference": self.greatest_difference,
            "untested": list(self.untested),
        }

    @property
    def greatest_difference(self) -> float:
        """Of all outputs that were compared."""
        found = [value for check in self.differences.values() for each in check.values() for value in each.values()]
        return max(found, default=0.0)

    def __str__(self) -> str:
        skipped = "".join(f"; {check} skipped: {reason}" for check, reason in self.skipped.items())
        return f"passed {', '.join(self.passed)}; greatest difference {self.greatest_difference:.2g}{skipped}"
