"""The report of an experiment: a section for each table and figure."""

from __future__ import annotations

from mim_tf.experiment.sheet import Sheet
from mim_tf.pages.figure_image import figure_image
from mim_tf.pages.markup import Html, element, paragraph, table
from mim_tf.pages.section import Section


def sheet_section(sheet: Sheet) -> Section:
    """A sheet as a part of a page: its picture, its numbers, its notes, and what the paper has."""
    content: list[Html] = []
    if sheet.figure is not None:
        content.append(figure_image(sheet.figure, f"{sheet.title}, drawn: the numbers stand below"))
    if sheet.rows:
        content.append(_numbers(sheet))
    content += [paragraph(element("small", note)) for note in sheet.notes]
    if sheet.paper is not None:
        content += [element("h3", sheet.paper.title), _numbers(sheet.paper)]
    return Section(sheet.name, sheet.title, content)


def _numbers(sheet: Sheet) -> Html:
    return table(("", *sheet.columns), sheet.cells())
