"""How a figure begins, and what it becomes: SVG text for a page, a PNG for a file, pixels for TensorBoard.

No figure goes through `pyplot`: it keeps figures alive and chooses windows, which a training has no use for.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

# Told apart with any kind of colour vision (Okabe and Ito): the model, its base, and further lines.
MODEL, BASE, *OTHERS = COLOURS = ("#0072B2", "#767676", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

# Those that the system has; names in Chinese want the package fonts-noto-cjk, and are boxes without it.
_FONTS = [font for font in ("DejaVu Sans", "Noto Sans CJK JP") if font in fontManager.get_font_names()]
_STYLE: Any = {  # matplotlib's own type lists all keys there are
    "font.size": 9,
    "font.sans-serif": _FONTS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small, searchable
    "svg.hashsalt": "mim_tf",  # the same figure is the same file
}
_DPI = 110


def new_figure(
    width: float = 7.0, height: float = 3.2, *, rows: int = 1, columns: int = 1
) -> tuple[Figure, np.ndarray]:
    """An empty figure.

    Args:
        width: inches.
        height: inches.
        rows: of axes.
        columns: of axes.

    Returns:
        The figure, and its axes `[rows, columns]`.
    """
    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)


def svg_of(figure: Figure) -> str:
    """The figure as an SVG element, to stand inside a page."""
    text = io.StringIO()
    with _style():
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    image = io.BytesIO()
    with _style():
        figure.savefig(image, format="png", dpi=_DPI, metadata={"Software": None})
    return image.getvalue()


def pixels_of(figure: Figure) -> np.ndarray:
    """The figure as uint8 `[height, width, 3]`. `tf.summary.image` takes it with an axis before it."""
    with _style():
        figure.set_dpi(_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


@contextmanager
def _style() -> Iterator[None]:
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield
