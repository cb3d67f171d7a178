"""The report: all sheets in one page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mim_tf.experiment.sheet import Sheet
from mim_tf.figures.figure import svg_of

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; color: #59636e; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.85rem; white-space: nowrap; }
th, td { text-align: right; padding: 0.25rem 0.7rem; border-bottom: 1px solid #e3e6ea; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
p.note { color: #59636e; font-size: 0.85rem; max-width: 48rem; }
nav a { margin-right: 0.8rem; }
"""


def page(title: str, about: Sequence[str], sheets: Sequence[Sheet]) -> str:
    """The page as HTML.

    Args:
        title: of the page.
        about: paragraphs that say what was run.
        sheets: what it shows, in this order.
    """
    links = "".join(f'<a href="#{sheet.name}">{escape(sheet.title.split(":")[0])}</a>' for sheet in sheets)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            *(f"<p>{escape(paragraph)}</p>" for paragraph in about),
            f"<nav>{links}</nav>",
            *(_section(sheet) for sheet in sheets),
            "</body></html>\n",
        ]
    )


def _section(sheet: Sheet) -> str:
    parts = [f'<section id="{sheet.name}"><h2>{escape(sheet.title)}</h2>']
    if sheet.figure is not None:
        parts.append(f'<figure role="img" aria-label="{escape(sheet.title)}">{svg_of(sheet.figure)}</figure>')
    if sheet.rows:
        parts.append(_table(sheet))
    parts += [f'<p class="note">{escape(note)}</p>' for note in sheet.notes]
    if sheet.paper is not None:
        parts += [f"<h3>{escape(sheet.paper.title)}</h3>", _table(sheet.paper)]
    return "\n".join([*parts, "</section>"])


def _table(sheet: Sheet) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in ("", *sheet.columns))
    rows = "".join(
        f'<tr><th scope="row">{escape(cells[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
        + "</tr>"
        for cells in sheet.cells()
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
