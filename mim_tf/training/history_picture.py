"""Users' histories as a picture: what each behaviour weighs for the best candidate, and how candidates are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mim_tf.training.captions import FADED, Caption
from mim_tf.training.pictures import Shown
from mim_tf.training.thumbnails import thumbnail

COLUMNS = 12
MOST_BEHAVIOURS = 3 * COLUMNS
"""As many behaviours of a user are drawn, the latest ones."""

_MARGIN, _GAP, _PHOTO, _BAR, _FRAME = 16, 8, 64, 5, 4
_GROUND, _PAPER, _LINE = (244, 245, 247), (255, 255, 255), (205, 208, 213)
_LIKED, _DISLIKED, _CLICKED = (0, 114, 178), (213, 94, 0), (22, 150, 72)
_HEADING, _LEGEND, _NUMBER = Caption(15), Caption(12, FADED), Caption(11)
_CELL = (_PHOTO, _PHOTO + _BAR + _NUMBER.height + _FRAME)  # width, height
_LEGENDS = (
    "behaviours, oldest first: cosine of their content with the first candidate's, equation (7)",
    "candidates as they are ranked: click probability; green: clicked",
)


class UserHistory(NamedTuple):
    """A user's session in a picture.

    Attributes:
        user: heading.
        behaviours: oldest first; `similarity` is the content weight.
        candidates: best first; `similarity` is the click probability, `right` says whether it was clicked.
    """

    user: str
    behaviours: Sequence[Shown]
    candidates: Sequence[Shown]


def history_picture(histories: Sequence[UserHistory]) -> np.ndarray:
    """Draw users one below the other: behaviours with a bar and a number each, below them the ranked candidates.

    A bar's length is the weight's size; negative ones are orange. Of behaviours the latest 36 are drawn, of candidates
    the best 12.

    Args:
        histories: at least one.

    Returns:
        uint8 `[height, width, 3]`. `tf.summary.image` takes it with an axis before it.

    Raises:
        ValueError: there are no histories.
    """
    if not histories:
        raise ValueError("`histories` must hold at least one user. Received: none.")
    height = _MARGIN + sum(_height(history) for history in histories)
    picture = Image.new("RGB", (2 * _MARGIN + COLUMNS * (_CELL[0] + _GAP) - _GAP, height), _GROUND)
    y = _MARGIN
    for history in histories:
        _draw(picture, history, y)
        y += _height(history)
    return np.asarray(picture)


def _draw(picture: Image.Image, history: UserHistory, y: int) -> None:
    draw, width = ImageDraw.Draw(picture), picture.width - 2 * _MARGIN
    _HEADING.draw(draw, (_MARGIN, y), history.user, width)
    y += _HEADING.height
    for legend, cells in zip(_LEGENDS, _parts(history), strict=True):
        _LEGEND.draw(draw, (_MARGIN, y), legend, width)
        y += _LEGEND.height + 4
        for number, cell in enumerate(cells):
            row, column = divmod(number, COLUMNS)
            place = (_MARGIN + column * (_CELL[0] + _GAP), y + row * (_CELL[1] + _GAP))
            picture.paste(_cell(cell), place)
        y += _rows(cells) * (_CELL[1] + _GAP)


def _parts(history: UserHistory) -> tuple[Sequence[Shown], Sequence[Shown]]:
    """What is drawn of behaviours and of candidates."""
    return history.behaviours[-MOST_BEHAVIOURS:], history.candidates[:COLUMNS]


def _rows(cells: Sequence[Shown]) -> int:
    return -(-len(cells) // COLUMNS)


def _height(history: UserHistory) -> int:
    rows = sum(_rows(cells) for cells in _parts(history))
    return _HEADING.height + len(_LEGENDS) * (_LEGEND.height + 4) + rows * (_CELL[1] + _GAP) + _MARGIN


def _cell(shown: Shown) -> Image.Image:
    """A photo, a bar and a number; what was clicked has a green frame."""
    cell = Image.new("RGB", _CELL, _PAPER)
    cell.paste(thumbnail(shown.photo, _PHOTO), (0, 0))
    draw, value = ImageDraw.Draw(cell), shown.similarity or 0.0
    length = round(min(1.0, abs(value)) * (_PHOTO - 1))
    if length:
        draw.rectangle((0, _PHOTO, length, _PHOTO + _BAR - 1), fill=_LIKED if value > 0 else _DISLIKED)
    _NUMBER.draw(draw, (_FRAME + 2, _PHOTO + _BAR), f"{value:.2f}", _PHOTO - _FRAME)
    colour, thickness = (_CLICKED, _FRAME) if shown.right else (_LINE, 1)
    draw.rectangle((0, 0, _CELL[0] - 1, _CELL[1] - 1), outline=colour, width=thickness)
    return cell
