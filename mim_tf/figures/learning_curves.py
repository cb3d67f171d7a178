"""Learning curves as a figure: what a training showed, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mim_tf.figures.figure import COLOURS, new_figure

_COLUMNS = 2
_PANEL_WIDTH, _PANEL_HEIGHT, _GAP = 3.6, 2.7, 0.09  # inches


class Curve(NamedTuple):
    """A scalar over a training, as it was measured.

    Attributes:
        steps: `[points]`, ascending.
        values: `[points]`.
    """

    steps: Sequence[int]
    values: Sequence[float]


def learning_curves_figure(panels: Mapping[str, Mapping[str, Sequence[Curve]]], *, x_label: str = "step") -> Figure:
    """Draw panels of curves, two beside each other. Nothing is smoothed.

    Args:
        panels: by their titles; in each the curves by name, as many as trainings were repeated with other seeds. Those
            of a name have one colour: the first name the model's, the second one the base's.
        x_label: what a step is.

    Raises:
        ValueError: there are no panels, a panel or a name has no curves, or a panel more names than there are colours.
    """
    if not panels:
        raise ValueError("`panels` must hold at least one. Received: none.")
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = new_figure(columns * _PANEL_WIDTH, rows * _PANEL_HEIGHT, rows=rows, columns=columns)
    figure.set_layout_engine("constrained", h_pad=_GAP, w_pad=_GAP)
    for place in axes.flat[len(panels) :]:
        place.remove()
    for place, (title, curves) in zip(axes.flat, panels.items(), strict=False):
        _draw(place, title, curves)
        place.set_xlabel(x_label)
    return figure


def _draw(place: Axes, title: str, curves: Mapping[str, Sequence[Curve]]) -> None:
    if not curves or not all(curves.values()) or len(curves) > len(COLOURS):
        counts = {name: len(of_name) for name, of_name in curves.items()}
        raise ValueError(
            f"`panels` must hold from 1 to {len(COLOURS)} names of curves each. Received: {title!r} with {counts}."
        )
    for colour, (name, of_name) in zip(COLOURS, curves.items(), strict=False):
        for number, curve in enumerate(of_name):
            # A single point, and the few of evaluations, would not show as a line.
            marker = "o" if len(curve.steps) < 10 else None
            label = None if number else name
            place.plot(curve.steps, curve.values, color=colour, marker=marker, markersize=3, linewidth=1.2, label=label)
    place.set_title(title)
    place.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    place.legend(fontsize=7)
