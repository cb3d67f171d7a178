"""Text inside pictures: any title, cut and wrapped to the room there is."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache
from typing import NamedTuple, cast

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]
INK, FADED = (32, 33, 36), (110, 114, 120)

# The first that the system has. Pillow's own, which is always there, has the letters of English alone: others show as
# boxes. Chinese titles want the package fonts-noto-cjk.
_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf")
_ELLIPSIS = "…"
_LONGEST = 400  # characters looked at; no cell has room for more


class Caption(NamedTuple):
    """A font size in pixels, a colour, and the most lines a text may take."""

    size: int
    colour: Colour = INK
    lines: int = 1

    @property
    def height(self) -> int:
        """Pixels of the most lines it may take."""
        return self.lines * self.line_height

    @property
    def line_height(self) -> int:
        """Pixels from one line to the next."""
        return round(1.3 * self.size)

    def draw(self, canvas: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, width: int) -> None:
        """Write the text from its upper left corner to the right and down, within `width` pixels."""
        font = _font(self.size)
        for number, line in enumerate(wrapped(text, font, width, self.lines)):
            # Anchored at the baseline: all fonts and letters stand in one line.
            baseline = corner[1] + number * self.line_height + self.size
            canvas.text((corner[0], baseline), line, font=font, fill=self.colour, anchor="ls")


def wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """The text in at most `lines` lines of at most `width` pixels; an ellipsis stands for what is left out.

    Lines break at white space, and within words that are longer than a line, as those of Chinese are. Characters that
    cannot be printed count as white space.
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    broken = _broken(shown.split(), font, width)
    if len(broken) <= lines:
        return broken
    return [*broken[: lines - 1], _shortened(broken[lines - 1], font, width)]


def _broken(words: list[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Words in lines, all of them."""
    lines, line = [], ""
    for word in words:
        extended = f"{line} {word}" if line else word
        if font.getlength(extended) <= width:
            line = extended
            continue
        lines += [line] if line else []
        line = word
        while font.getlength(line) > width and len(line) > 1:
            start = _fitting(line, font, width)
            lines.append(line[:start])
            line = line[start:]
    return [*lines, line] if line else lines


def _fitting(word: str, font: ImageFont.FreeTypeFont, width: int) -> int:
    """How many characters of the word fit in a line, at least one."""
    return max(1, bisect_right(range(1, len(word) + 1), float(width), key=lambda end: font.getlength(word[:end])))


def _shortened(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while line and font.getlength(line + _ELLIPSIS) > width:
        line = line[:-1]
    return line.rstrip() + _ELLIPSIS


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))  # of a size it is never the other kind
