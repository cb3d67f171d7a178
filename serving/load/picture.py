"""Latency over time, and how it is spread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogFormatter

from mim_tf.serving.load.phases import Measured
from mim_tf.serving.load.summary import Summary

_SHARES = np.array([0.5, 0.9, 0.99, 0.999, 0.9999])


def draw_report(phases: Sequence[Measured], summaries: Sequence[Summary], path: Path) -> None:
    """Latency of each request, its percentiles by phase, and with several rates what a rate costs, as a PNG."""
    rates = sum(one.phase == "steady" for one in summaries) > 1
    figure, panels = plt.subplots(3 if rates else 2, 1, figsize=(10, 10 if rates else 7), layout="constrained")
    for number, measured in enumerate(phases):
        _draw_requests(panels[0], measured, f"C{number}")
        _draw_percentiles(panels[1], measured, f"C{number}")
    panels[0].set(xlabel="seconds since the start, when due", ylabel="latency, ms", yscale="log")
    panels[1].set(xlabel="percentile", ylabel="latency, ms", yscale="log", xscale="log")
    panels[1].set_xticks(1 / (1 - _SHARES), [f"{100 * share:g}" for share in _SHARES])
    panels[1].minorticks_off()
    panels[1].grid(alpha=0.3)
    if rates:
        _draw_rates(panels[2], summaries)
    for panel in panels:
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(LogFormatter())
        panel.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the panel: nothing is hidden
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_requests(panel: Any, measured: Measured, color: str) -> None:
    outcomes = measured.outcomes
    due, latency = measured.begin + outcomes.due, 1e3 * outcomes.latency
    failed = outcomes.codes != "OK"
    panel.scatter(due[~failed], latency[~failed], s=4, alpha=0.5, color=color, label=_name(measured))
    if failed.any():
        panel.scatter(due[failed], latency[failed], s=12, marker="x", color=color, label=f"{_name(measured)}, failed")


def _draw_percentiles(panel: Any, measured: Measured, color: str) -> None:
    """Each request at its percentile, which is spread out towards 100."""
    latency = np.sort(1e3 * measured.outcomes.latency[measured.outcomes.waited])
    share = np.arange(len(latency)) / max(1, len(latency))
    panel.plot(1 / (1 - share), latency, color=color, label=_name(measured))


def _draw_rates(panel: Any, summaries: Sequence[Summary]) -> None:
    steady = sorted((one for one in summaries if one.phase == "steady"), key=lambda one: one.rate)
    achieved = [one.achieved for one in steady]
    for name, latency in (("p50", [one.p50 for one in steady]), ("p99", [one.p99 for one in steady])):
        panel.plot(achieved, latency, marker="o", label=name)
    panel.set(xlabel="answers per second", ylabel="latency, ms", yscale="log")


def _name(measured: Measured) -> str:
    return f"{measured.phase}, {measured.rate:g}/s"
