"""Names of groups in figures, whatever they hold."""

import warnings
from xml.etree import ElementTree

from matplotlib.figure import Figure

from mim_tf.figures.drawn_names import drawn_names
from mim_tf.figures.estimates import estimates_figure
from mim_tf.figures.figure import svg_of
from mim_tf.figures.group_gains import group_gains_figure
from mim_tf.metrics import Interval

NAMES = ["$5 & $10_$20", "a" * 40, "a" * 50, "mug\x00\n<b>", "{x}_^", "杯子"]


def texts(figure: Figure) -> list[str | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = ElementTree.fromstring(svg_of(figure))
    return [element.text for element in root.iter() if element.tag.endswith("}text")]


def test_names_are_drawn_as_text_whatever_they_hold() -> None:
    gain = Interval(0.1, 0.0, 0.2)
    plain = {"$5 & $10_$20", "mug  <b>", "{x}_^", "杯子"}
    assert {*plain, "a" * 16 + "…", "a" * 16 + "… 3"} <= set(texts(group_gains_figure(dict.fromkeys(NAMES, gain))))
    assert {*plain, "a" * 32 + "…", "a" * 32 + "… 3"} <= set(texts(estimates_figure(NAMES, [gain] * 6, "AUC")))


def test_no_two_names_are_drawn_alike() -> None:
    assert len(set(drawn_names(["a" * 40] * 3))) == 3
