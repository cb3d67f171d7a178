"""A part of a page under a heading of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mim_tf.pages.markup import Html


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        anchor: by which the page's menu finds it; a word.
        title: its heading, and its name in the menu.
        content: paragraphs, tables, pictures.
    """

    anchor: str
    title: str
    content: Sequence[Html]
