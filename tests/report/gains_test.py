"""Names of groups in figures."""

import warnings
from xml.etree import ElementTree

from mim_tf.figures.figure import svg_of
from mim_tf.figures.group_gains import group_gains_figure
from mim_tf.metrics import Interval
from mim_tf.report.gains import drawn_names


def test_names_are_drawn_as_text_whatever_they_hold() -> None:
    names = ["$5 & under $10", "a" * 30, "a" * 40, "mug\x00\n<b>", "{x}_^", "杯子"]
    gains = dict.fromkeys(drawn_names(names), Interval(0.1, 0.0, 0.2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = ElementTree.fromstring(svg_of(group_gains_figure(gains)))
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert {"$5 & under $10", "a" * 16 + "…", "a" * 16 + "… 3", "mug  <b>", "{x}_^", "杯子"} <= set(texts)
