"""Learning curves, read back from the figure."""

import numpy as np
import pytest

from mim_tf.figures.figure import BASE, MODEL, svg_of
from mim_tf.figures.learning_curves import Curve, learning_curves_figure

FALLING, RISING = Curve(range(20), np.linspace(3, 1, 20).tolist()), Curve([0, 9], [0.1, 0.2])


def test_every_curve_is_drawn_as_it_was_measured() -> None:
    panels = {"loss": {"model": [FALLING, RISING], "base": [RISING]}, "mrr": {"held out": [RISING]}}
    figure = learning_curves_figure(panels, x_label="epoch")
    loss, mrr = figure.axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [
        [[float(step), value] for step, value in zip(*curve, strict=True)] for curve in (FALLING, RISING, RISING)
    ]
    assert [line.get_color() for line in loss.lines] == [MODEL, MODEL, BASE]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["model", "base"]
    assert (loss.get_title(), mrr.get_title()) == ("loss", "mrr")
    assert loss.get_xlabel() == mrr.get_xlabel() == "epoch"
    assert "held out" in svg_of(figure)


def test_few_points_are_seen_as_points() -> None:
    [place] = learning_curves_figure({"a": {"many": [FALLING], "one": [Curve([5], [1.0])]}}).axes
    assert [line.get_marker() for line in place.lines] == ["None", "o"]


def test_an_odd_panel_leaves_no_empty_one() -> None:
    assert len(learning_curves_figure({name: {"x": [RISING]} for name in "abc"}).axes) == 3


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match=r"`panels` must hold at least one\. Received: none\."):
        learning_curves_figure({})
    with pytest.raises(ValueError, match=r"must hold from 1 to 7 names of curves each\. Received: 'a' with \{\}\."):
        learning_curves_figure({"a": {}})
    with pytest.raises(ValueError, match=r"Received: 'a' with \{'x': 0\}"):
        learning_curves_figure({"a": {"x": []}})
    with pytest.raises(ValueError, match="names of curves each"):
        learning_curves_figure({"a": {name: [RISING] for name in "abcdefgh"}})
