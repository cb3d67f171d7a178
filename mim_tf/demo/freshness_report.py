"""A picture and a few lines of how fresh the table was."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from mim_tf.demo.freshness import Measured


def percentiles(seconds: np.ndarray) -> tuple[float, float, float]:
    """Median, 99th percentile and the largest of some durations."""
    return float(np.median(seconds)), float(np.percentile(seconds, 99)), float(seconds.max())


def report_lines(measured: Measured) -> list[str]:
    """What a run saw, in words."""
    freshness = np.array([one.seconds for one in measured.fresh])
    items = f"{len(measured.fresh):,} items became rankable" + (f", {measured.lost} did not." if measured.lost else ".")
    lines = [items]
    if len(freshness):
        lines.append(
            "From arrival to the first score: p50 {:.2f} s, p99 {:.2f} s, longest {:.2f} s.".format(
                *percentiles(freshness)
            )
        )
    if len(measured.requests):
        p50, p99, longest = (1e3 * seconds for seconds in percentiles(measured.requests[:, 1]))
        lines.append(
            f"{len(measured.requests):,} ranking requests meanwhile: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest "
            f"{longest:.0f} ms, {measured.failed} failed."
        )
    return lines


def draw_report(measured: Measured, path: Path) -> None:
    """Freshness and latency over time, as a PNG."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    arrived = [one.arrived for one in measured.fresh]
    seconds = np.array([one.seconds for one in measured.fresh])
    above.scatter(arrived, seconds, s=9, alpha=0.6)
    above.set(
        title="\n".join(report_lines(measured)), ylabel="seconds from arrival\nto the first score", ylim=(0, None)
    )
    above.title.set_fontsize(9)
    if len(seconds):
        p50, p99, _ = percentiles(seconds)
        for value, name in ((p50, "p50"), (p99, "p99")):
            above.axhline(value, linewidth=0.8, linestyle="--", color="grey")
            above.annotate(name, (0.99, value), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="bottom")
    begun, took = measured.requests.T
    below.scatter(begun, 1e3 * took, s=4, alpha=0.5, color="tab:orange")
    below.set(xlabel="seconds since the start", ylabel="ms of a ranking request", yscale="log")
    figure.savefig(path, dpi=110)
    plt.close(figure)
