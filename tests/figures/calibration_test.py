"""Where the points of a calibration figure lie, and that it can be drawn."""

import numpy as np
import pytest

from mim_tf.figures.calibration import calibration_figure
from mim_tf.figures.figure import BASE, MODEL, pixels_of, svg_of
from mim_tf.metrics import calibration_curve

RNG = np.random.default_rng(0)
PROBABILITIES = RNG.beta(1, 9, 400)
CURVE = calibration_curve(RNG.uniform(size=400) < PROBABILITIES, PROBABILITIES, bins=5)


def test_points_are_the_bins_and_whiskers_their_intervals() -> None:
    plot = calibration_figure({"model": CURVE}).axes[0]
    [points] = [line for line in plot.lines if line.get_label() != "calibrated" and len(line.get_xdata()) == 5]
    np.testing.assert_allclose(points.get_xdata(), CURVE.predicted)
    np.testing.assert_allclose(points.get_ydata(), CURVE.observed)
    [whiskers] = plot.collections
    ends = np.array([segment[:, 1] for segment in whiskers.get_segments()])
    np.testing.assert_allclose(ends, np.stack([CURVE.lower, CURVE.upper], 1))


def test_everything_lies_inside_and_both_axes_have_one_scale() -> None:
    plot = calibration_figure({"model": CURVE, "base": CURVE}).axes[0]
    assert plot.get_xlim() == plot.get_ylim()
    assert plot.get_ylim()[1] > max(CURVE.upper.max(), CURVE.predicted.max())


def test_a_model_has_its_colour_whoever_stands_beside_it() -> None:
    for names in (["base"], ["base", "model"], ["din", "base"]):
        svg = svg_of(calibration_figure(dict.fromkeys(names, CURVE))).lower()
        assert (MODEL.lower() in svg) == ("model" in names)
        assert (BASE.lower() in svg) == ("base" in names)


def test_one_bin_can_be_drawn() -> None:
    assert (pixels_of(calibration_figure({"model": calibration_curve([0, 1], [0.5, 0.5])})) < 255).any()


def test_there_must_be_curves_and_colours_for_them() -> None:
    with pytest.raises(ValueError, match=r"`curves` must be from 1 to \d\. Received: 0\."):
        calibration_figure({})
