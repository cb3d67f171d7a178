"""What a figure becomes, read back by Pillow and by an XML parser."""

import io
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mim_tf.figures.figure import new_figure, pixels_of, png_of, svg_of


def line() -> Figure:
    figure, axes = new_figure(4, 2)
    axes[0, 0].plot([0, 1], [0, 1], color="#ff0000", linewidth=9)
    axes[0, 0].set(title="a < b & c")
    return figure


def test_pixels_and_png_are_the_same_picture() -> None:
    pixels = pixels_of(line())
    assert pixels.shape == (220, 440, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == [255, 0, 0]).all(-1).sum() > 500
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_of(line()))).convert("RGB")), pixels)


def test_svg_stands_inside_a_page_and_holds_its_words() -> None:
    root = ElementTree.fromstring(svg_of(line()))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "a < b & c" in [element.text for element in root.iter() if element.tag.endswith("text")]


def test_the_same_figure_is_the_same_file() -> None:
    assert svg_of(line()) == svg_of(line())


def test_axes_are_a_grid() -> None:
    _, axes = new_figure(rows=2, columns=3)
    assert axes.shape == (2, 3)


def test_names_without_a_font_are_drawn_all_the_same() -> None:
    figure = line()
    figure.axes[0].set(title="女装 \U0001f457")  # a dress, which few fonts have
    assert pixels_of(figure).shape == (220, 440, 3)
    assert "女装" in svg_of(figure)
