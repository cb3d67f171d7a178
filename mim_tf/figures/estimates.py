"""Estimates with their intervals, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from mim_tf.figures.drawn_names import drawn_names
from mim_tf.figures.figure import BASE, MODEL, new_figure
from mim_tf.metrics import Interval


def estimates_figure(
    names: Sequence[str], estimates: Sequence[Interval], label: str, *, reference: float | None = None
) -> Figure:
    """Points with bars for their intervals, one under the other.

    Args:
        names: of the estimates.
        estimates: as many; an interval without ends is a point alone.
        label: what is measured, with its unit.
        reference: draws a line where a point would have no difference.

    Raises:
        ValueError: there are not as many names as estimates.
    """
    if len(names) != len(estimates):
        raise ValueError(f"`names` and `estimates` must be as many. Received: {len(names)} and {len(estimates)}.")
    figure, grid = new_figure(7.0, 0.9 + 0.28 * max(1, len(names)))
    axes, rows = grid[0, 0], range(len(names))
    if reference is not None:
        axes.axvline(reference, color=BASE, linewidth=1, linestyle="--")
    for row, (estimate, lower, upper) in zip(rows, estimates, strict=True):
        if lower == lower:
            axes.plot([lower, upper], [row, row], color=MODEL, linewidth=2, solid_capstyle="butt")
        axes.plot([estimate], [row], "o", color=MODEL, markersize=5)
    axes.set_yticks(list(rows), drawn_names(names))
    axes.set(xlabel=label, ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    return figure
