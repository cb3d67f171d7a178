"""Calibration as a figure: predicted against observed click rates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mim_tf.figures.figure import BASE, MODEL, OTHERS, new_figure
from mim_tf.metrics import CalibrationCurve


def calibration_figure(curves: Mapping[str, CalibrationCurve]) -> Figure:
    """Draw click rates over predictions, a line per model; on the diagonal a model is calibrated.

    A point is a bin of `calibration_curve`; its whisker is the click rate's 95% interval. Both axes have one scale.

    Args:
        curves: by name, up to seven. `model` and `base` have the colours they have everywhere.

    Raises:
        ValueError: there are no curves, or more than there are colours.
    """
    if not 1 <= len(curves) <= 1 + len(OTHERS):
        raise ValueError(f"`curves` must be from 1 to {1 + len(OTHERS)}. Received: {len(curves)}.")
    figure, axes = new_figure(4.2, 4.0)
    plot, others = axes[0, 0], iter(OTHERS)
    end = 1.05 * max(float(np.max([curve.predicted.max(), curve.upper.max()])) for curve in curves.values())
    plot.plot([0, end], [0, end], color="#bbbbbb", linestyle="--", linewidth=1, label="calibrated")
    for name, curve in curves.items():
        colour = {"model": MODEL, "base": BASE}.get(name) or next(others)
        whiskers = np.stack([curve.observed - curve.lower, curve.upper - curve.observed])
        plot.errorbar(
            curve.predicted, curve.observed, whiskers, color=colour, marker="o", markersize=3, linewidth=1, label=name
        )
    plot.set(xlabel="predicted click rate", ylabel="observed click rate", xlim=(0, end), ylim=(0, end), aspect="equal")
    plot.legend(loc="upper left")
    return figure
