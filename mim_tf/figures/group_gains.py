"""Gains by group as a figure: where a model is better than its base, and where it is not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mim_tf.figures.drawn_names import drawn_names
from mim_tf.figures.figure import BASE, MODEL, new_figure
from mim_tf.metrics import Interval

_LONGEST = 16  # letters under a bar
_SHORT = 4  # letters; longer names are slanted so that they do not run into each other


def group_gains_figure(gains: Mapping[str, Interval], *, metric: str = "AUC", title: str = "") -> Figure:
    """Draw a bar per group, in the order given, with its interval; losses in grey.

    Args:
        gains: of the groups by name, such as `S1` to `S10`, or categories; long names are cut. Ends that are NaN have
            no whisker.
        metric: what was gained.
        title: of the figure.

    Raises:
        ValueError: there are no groups.
    """
    if not gains:
        raise ValueError("`gains` must hold at least one group. Received: none.")
    names = drawn_names(list(gains), _LONGEST)
    figure, axes = new_figure(max(4.0, 1.2 + 0.5 * len(gains)), 3.2)
    plot, places = axes[0, 0], np.arange(len(gains))
    estimates, lower, upper = np.array([tuple(gain) for gain in gains.values()], np.float64).T
    plot.bar(places, estimates, width=0.65, color=[MODEL if gain >= 0 else BASE for gain in estimates])
    known = ~np.isnan(lower)
    whiskers = np.stack([estimates - lower, upper - estimates])[:, known]
    plot.errorbar(places[known], estimates[known], whiskers, fmt="none", ecolor="#222222", elinewidth=1, capsize=2)
    plot.axhline(0, color="#222222", linewidth=0.8)
    plot.set(ylabel=f"{metric} gain over base", title=title)
    plot.set_xticks(places, names)
    if max(map(len, names)) > _SHORT:
        plot.tick_params(axis="x", rotation=35)
        for label in plot.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    plot.grid(visible=False, axis="x")
    return figure
