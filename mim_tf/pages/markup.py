"""HTML that cannot hold what it was not meant to: all text is escaped unless an element was made of it here."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

_WITHOUT_END = frozenset({"img", "meta"})


class Html(str):
    """Text that is HTML already. Nothing that comes from data is made one."""

    __slots__ = ()


def element(name: str, /, *content: str, **attributes: str | int | float | None) -> Html:
    """One element.

    Args:
        name: of the element.
        content: what stands in it, in order; what is not `Html` is text, and escaped.
        attributes: by name, always escaped; None leaves one out. A name that Python has for itself gets a `_` at its
            end, and a `_` within a name stands for a `-`.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    return Html(f"<{name}{written}>" + ("" if name in _WITHOUT_END else f"{together(*content)}</{name}>"))


def together(*content: str) -> Html:
    """Elements and texts one after the other."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in content))


def paragraph(*content: str) -> Html:
    """A paragraph."""
    return element("p", *content)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, marked: Sequence[bool] = ()) -> Html:
    """A table in a box of its own, in which it scrolls where the screen is narrow.

    Args:
        headings: of the columns.
        rows: of cells; the first one names its row, the others are right-aligned.
        marked: which rows stand out; none, if it is not given.
    """
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    body = [
        element(
            "tr",
            element("th", first, scope="row"),
            *(element("td", cell) for cell in cells),
            class_="marked" if marked and marked[number] else None,
        )
        for number, (first, *cells) in enumerate(rows)
    ]
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("div", whole, class_="wide", tabindex=0)


def details(summary: str, *content: str) -> Html:
    """What is closed until somebody opens it."""
    return element("details", element("summary", summary), *content)


def image(content: bytes, kind: str, alt: str, **attributes: str | int | None) -> Html:
    """A picture inside the page.

    Args:
        content: of its file.
        kind: of the file: `webp`, `svg+xml`.
        alt: what it shows, for who does not see it.
        attributes: as in `element`.
    """
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return element("img", src=source, alt=alt, **attributes)
