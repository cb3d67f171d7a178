"""The page around the sections: one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from mim_tf.pages.markup import Html, element, together
from mim_tf.pages.section import Section


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """A whole HTML document.

    Its policy lets a browser load nothing from anywhere, and run the page's own script alone: whatever came from data
    would not run even if it stood in the page as HTML.

    Args:
        title: of the document.
        subtitle: a line under it.
        sections: in their order, each with a link in the menu.
    """
    style, script = (
        files("mim_tf.pages").joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(style)),
    )
    menu = element("nav", *(element("a", section.title, href=f"#{section.anchor}") for section in sections))
    body = element(
        "body",
        element("h1", title),
        element("div", subtitle, class_="note"),
        menu,
        *(_section(section) for section in sections),
        element("script", Html(script)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def _section(section: Section) -> Html:
    return element("section", element("h2", section.title), together(*section.content), id=section.anchor)
