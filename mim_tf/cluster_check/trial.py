"""What was tried and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_TITLES = (
    *("what ran", "processes", "seconds", "steps", "lost", "others left after", "went on from"),
    *("loss or AUC", "difference", "result"),
)


class Trial(NamedTuple):
    """One training by several processes.

    Args:
        name: what ran.
        processes: that trained together.
        seconds: until all of them had ended.
        steps: of the training, if it says.
        value: the loss or the AUC in the end.
        difference: the greatest, from what it is held against; None: what it comes to is chance.
        problem: what does not hold; "" if all does.
        lost: the task that was killed.
        left_after: seconds until the others had left; None: nobody was lost, or the others went on.
        went_on_from: the step, of `rank` the epoch, of the checkpoint.
    """

    name: str
    processes: int
    seconds: float
    steps: float | None
    value: float
    difference: float | None
    problem: str = ""
    lost: str = ""
    left_after: float | None = None
    went_on_from: float | None = None

    def cells(self) -> list[str]:
        """As a line of the table."""
        left, went_on = _whole(self.left_after), _whole(self.went_on_from)
        run = [self.name, str(self.processes), _whole(self.seconds), _whole(self.steps)]
        return [
            *run,
            self.lost or "-",
            left,
            went_on,
            f"{self.value:.4f}",
            "-" if self.difference is None else f"{self.difference:.1e}",
            self.problem or "ok",
        ]


def table(trials: Sequence[Trial]) -> str:
    """A line per trial, which ends with "ok" or with what does not hold."""
    rows = [list(_TITLES), *(trial.cells() for trial in trials)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _whole(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f}"
