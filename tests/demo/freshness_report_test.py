"""The report of freshness: figures by hand, and a picture that can be looked at."""

from pathlib import Path

import numpy as np
from PIL import Image

from mim_tf.demo.freshness import Fresh, Measured
from mim_tf.demo.freshness_report import draw_report, report_lines
from mim_tf.demo.new_items import NewItem

ITEM = NewItem(1, "Mug", "mug", b"")


def measured(seconds: list[float], lost: int = 0, milliseconds: tuple[float, ...] = (10.0, 20.0, 30.0)) -> Measured:
    fresh = [Fresh(ITEM, float(place), one, 0.1, 0.2) for place, one in enumerate(seconds)]
    requests = np.array([[0.5 * place, one / 1e3] for place, one in enumerate(milliseconds)]).reshape(-1, 2)
    return Measured(fresh, lost, requests, 1)


def test_lines_by_hand() -> None:
    # 101 values 0.00 .. 1.00: the median is 0.50 and 99 of 100 steps lie below 0.99.
    lines = report_lines(measured([place / 100 for place in range(101)], lost=2))
    assert lines == [
        "101 items became rankable, 2 did not.",
        "From arrival to the first score: p50 0.50 s, p99 0.99 s, longest 1.00 s.",
        "3 ranking requests meanwhile: p50 20.0 ms, p99 29.8 ms, longest 30 ms, 1 failed.",
    ]


def test_nothing_became_fresh() -> None:
    assert report_lines(measured([], lost=3, milliseconds=())) == ["0 items became rankable, 3 did not."]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    for place, seconds in enumerate(([0.5, 0.7, 1.2], [])):
        path = tmp_path / f"{place}.png"
        draw_report(measured(seconds), path)
        with Image.open(path) as picture:
            assert picture.size == (990, 660)  # 9 x 6 inches of 110 dots
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 10
