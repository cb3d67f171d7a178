"""Figures inside a page."""

from __future__ import annotations

from matplotlib.figure import Figure

from mim_tf.figures.figure import svg_of
from mim_tf.pages.markup import Html, element, image

_LEAST_PIXELS = 72  # per inch of a figure, of the 96 that are its size: smaller, its words cannot be read


def figure_image(figure: Figure, alt: str) -> Html:
    """A figure in a box of its own, in which it scrolls where the screen is narrow.

    Args:
        figure: as the modules of `mim_tf.figures` draw them.
        alt: what it shows, for who does not see it.
    """
    least = f"min-width: {_LEAST_PIXELS * figure.get_figwidth():.0f}px"
    drawn = image(svg_of(figure).encode(), "svg+xml", alt, class_="figure", style=least)
    return element("div", drawn, class_="wide", tabindex=0)
