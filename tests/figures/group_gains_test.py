"""Bars and whiskers of groups."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mim_tf.figures.figure import BASE, MODEL, pixels_of
from mim_tf.figures.group_gains import group_gains_figure
from mim_tf.metrics import Interval

GAINS = {"S1": Interval(0.02, 0.01, 0.04), "S2": Interval(-0.01, -0.03, 0.01), "S3": Interval(0.01, np.nan, np.nan)}


def test_bars_are_the_gains_in_their_order_and_losses_are_grey() -> None:
    plot = group_gains_figure(GAINS).axes[0]
    assert [bar.get_height() for bar in plot.patches] == [0.02, -0.01, 0.01]
    assert [to_hex(bar.get_facecolor()).upper() for bar in plot.patches] == [MODEL, BASE, MODEL]
    assert [label.get_text() for label in plot.get_xticklabels()] == ["S1", "S2", "S3"]


def test_whiskers_are_the_intervals_where_there_are_some() -> None:
    [whiskers] = group_gains_figure(GAINS).axes[0].collections
    ends = np.array([segment[:, 1] for segment in whiskers.get_segments()])
    np.testing.assert_allclose(ends, [[0.01, 0.04], [-0.03, 0.01]])


def test_long_names_do_not_run_into_each_other() -> None:
    figure = group_gains_figure({f"a category of name {number}": GAINS["S1"] for number in range(8)})
    pixels_of(figure)  # lays it out
    anchors = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(label.get_rotation() for label in figure.axes[0].get_xticklabels())
    assert np.diff([box.x1 for box in anchors]).min() > 20  # pixels; a line of text is about 12 high


def test_without_any_interval_it_can_be_drawn() -> None:
    assert (pixels_of(group_gains_figure({"S1": Interval(0.01, np.nan, np.nan)})) < 255).any()


def test_there_must_be_groups() -> None:
    with pytest.raises(ValueError, match=r"`gains` must hold at least one group\. Received: none\."):
        group_gains_figure({})
