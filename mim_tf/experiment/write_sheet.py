"""The files of a table or figure."""

from __future__ import annotations

from pathlib import Path

from mim_tf.experiment.sheet import Sheet
from mim_tf.figures.figure import png_of, svg_of
from mim_tf.workdir import write_aside


def write_sheet(sheet: Sheet, folder: Path) -> None:
    """Write a sheet as CSV and Markdown, and its figure as PNG and SVG.

    Args:
        sheet: the table, and what is drawn of it.
        folder: made if it is not there; the files are named after the sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_aside(folder / f"{sheet.name}.csv", sheet.csv())
    write_aside(folder / f"{sheet.name}.md", sheet.markdown())
    svg, png = (folder / f"{sheet.name}.{ending}" for ending in ("svg", "png"))
    if sheet.figure is not None:
        write_aside(svg, svg_of(sheet.figure))
        png.write_bytes(png_of(sheet.figure))
    else:  # nothing is left of an earlier one
        svg.unlink(missing_ok=True)
        png.unlink(missing_ok=True)
