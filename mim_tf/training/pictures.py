"""Pictures for TensorBoard: what a query finds, and images side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mim_tf.training.captions import FADED, Caption
from mim_tf.training.thumbnails import Photo, thumbnail

Direction = Literal["image_to_title", "title_to_image", "query_to_item"]

RESULTS = 5
"""As many results of a query are shown."""

_MARGIN, _GAP, _PADDING = 16, 10, 8
_PHOTO, _SMALL_PHOTO = 128, 80
_CARD = (_PHOTO + 2 * _PADDING, 204)  # width, height
_GROUND, _PAPER = (244, 245, 247), (255, 255, 255)
_GREEN, _GREY = (22, 150, 72), (205, 208, 213)
_LEGEND = "Green frames: right answers. Numbers: cosine similarities."

_HEADING, _COLUMN = Caption(17), Caption(12, FADED)
_BIG_TITLE, _SMALL_TITLE = Caption(14, lines=5), Caption(11, FADED, lines=3)
_SIMILARITY = Caption(12)


class Shown(NamedTuple):
    """An item in a picture: a query, or one of its results.

    Attributes:
        photo: its image.
        title: any text, also none.
        similarity: of a result, to its query.
        right: whether a result is what the query asks for.
    """

    photo: Photo
    title: str
    similarity: float | None = None
    right: bool = False


def retrieval_grid(rows: Sequence[tuple[Shown, Sequence[Shown]]], *, direction: Direction) -> np.ndarray:
    """Draw queries with what they found, a row each: the query at the left, its best results beside it, best first.

    Of what was compared the photo or the title is large, and the other one small; of items that were compared as a
    whole, the photo. A result that is right has a thick green frame, any other one a thin grey one.

    Args:
        rows: each query and its results, of which the first five are drawn.
        direction: `"image_to_title"` if queries were images and candidates titles, `"title_to_image"`, or
            `"query_to_item"` if queries were images and candidates items.

    Returns:
        uint8 `[height, width, 3]`. `tf.summary.image` takes it with an axis before it.

    Raises:
        ValueError: there are no rows, or the direction is unknown.
    """
    if direction not in _CARDS:
        raise ValueError(f"`direction` must be one of {sorted(_CARDS)}. Received: {direction!r}.")
    if not rows:
        raise ValueError("`rows` must hold at least one query. Received: none.")
    query_card, result_card = _CARDS[direction]
    columns = _result_columns(min(RESULTS, max(len(results) for _, results in rows)))
    picture, draw = _sheet(_width(columns), _top() + len(rows) * (_CARD[1] + _GAP) - _GAP + _MARGIN)
    _write_headings(draw, direction.replace("_", " "), columns)
    for number, (query, results) in enumerate(rows):
        y = _top() + number * (_CARD[1] + _GAP)
        picture.paste(query_card(query), (_MARGIN, y))
        for x, result in zip(columns, results, strict=False):  # a small catalogue has fewer results than columns
            picture.paste(result_card(result), (x, y))
    return np.asarray(picture)


def comparison_grid(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draw images side by side, a column under each heading: an image, what of it was hidden, what was made of it.

    Args:
        columns: headings, and uint8 images `[rows, height, width, 3]`; row i of each column belongs together.

    Returns:
        uint8 `[height, width, 3]`. `tf.summary.image` takes it with an axis before it.

    Raises:
        ValueError: there are no images, columns differ in rows, or images are not uint8 with three channels.
    """
    lengths = {heading: len(images) for heading, images in columns.items()}
    if not lengths or len(set(lengths.values())) != 1 or not max(lengths.values()):
        raise ValueError(f"`columns` must hold equally many images each, at least one. Received: {lengths}.")
    step, top = _PHOTO + _GAP, _MARGIN + _COLUMN.height + _PADDING
    rows = max(lengths.values())
    picture, draw = _sheet(2 * _MARGIN + len(columns) * step - _GAP, top + rows * step - _GAP + _MARGIN)
    for column, (heading, images) in enumerate(columns.items()):
        x = _MARGIN + column * step
        _COLUMN.draw(draw, (x, _MARGIN), heading, _PHOTO)
        for row, image in enumerate(images):
            picture.paste(thumbnail(image, _PHOTO), (x, top + row * step))
    return np.asarray(picture)


def _sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (width, height), _GROUND)
    return picture, ImageDraw.Draw(picture)


def _top() -> int:
    """Where the first row of cards begins, under heading and column names."""
    return _MARGIN + _HEADING.height + _PADDING + _COLUMN.height + _PADDING


def _result_columns(count: int) -> list[int]:
    """Where each column of results begins; more than a gap keeps them from the queries."""
    first = _MARGIN + _CARD[0] + 3 * _GAP
    return [first + number * (_CARD[0] + _GAP) for number in range(count)]


def _width(columns: list[int]) -> int:
    return (columns[-1] if columns else _MARGIN) + _CARD[0] + _MARGIN


def _write_headings(draw: ImageDraw.ImageDraw, heading: str, columns: list[int]) -> None:
    _HEADING.draw(draw, (_MARGIN, _MARGIN), heading, _CARD[0])
    for x in columns[:1]:
        _COLUMN.draw(draw, (x, _MARGIN + _HEADING.size - _COLUMN.size), _LEGEND, _width(columns) - _MARGIN - x)
    y = _MARGIN + _HEADING.height + _PADDING
    for x, name in zip([_MARGIN, *columns], ["query", *map(str, range(1, len(columns) + 1))], strict=True):
        _COLUMN.draw(draw, (x, y), name, _CARD[0])


def _photo_card(shown: Shown) -> Image.Image:
    """The photo large, under it the similarity and the title."""
    card, draw = _card(shown)
    card.paste(thumbnail(shown.photo, _PHOTO), (_PADDING, _PADDING))
    y = _PADDING + _PHOTO + 4
    if shown.similarity is not None:
        _SIMILARITY.draw(draw, (_PADDING, y), f"{shown.similarity:.2f}", _PHOTO)
        y += _SIMILARITY.height
    _SMALL_TITLE.draw(draw, (_PADDING, y), shown.title, _PHOTO)
    return card


def _title_card(shown: Shown) -> Image.Image:
    """The title large, under it the photo, small, and the similarity."""
    card, draw = _card(shown)
    _BIG_TITLE.draw(draw, (_PADDING, _PADDING), shown.title.strip() or "(no title)", _PHOTO)
    y = _CARD[1] - _PADDING - _SMALL_PHOTO
    card.paste(thumbnail(shown.photo, _SMALL_PHOTO), (_PADDING, y))
    if shown.similarity is not None:
        corner = (2 * _PADDING + _SMALL_PHOTO, _CARD[1] - _PADDING - _SIMILARITY.height)
        _SIMILARITY.draw(draw, corner, f"{shown.similarity:.2f}", _PHOTO - _SMALL_PHOTO)
    return card


def _card(shown: Shown) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """White paper in the frame that says whether the result is right."""
    card = Image.new("RGB", _CARD, _PAPER)
    draw = ImageDraw.Draw(card)
    colour, thickness = (_GREEN, 4) if shown.right else (_GREY, 1)
    draw.rectangle((0, 0, _CARD[0] - 1, _CARD[1] - 1), outline=colour, width=thickness)
    return card, draw


# The cards of a query and of its results.
_CARDS = {
    "image_to_title": (_photo_card, _title_card),
    "title_to_image": (_title_card, _photo_card),
    "query_to_item": (_photo_card, _photo_card),
}
