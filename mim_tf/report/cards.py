"""Items as they stand on a page: a thumbnail, the title, and what is to be said of them."""

from __future__ import annotations

import io

from mim_tf.pages.markup import Html, element, image
from mim_tf.report.shop_items import ItemId, ShopItem
from mim_tf.training.thumbnails import thumbnail

_SIDE = 96  # pixels; shown smaller, for screens with several pixels to a point
_QUALITY = 75


def picture(photo: bytes, alt: str) -> Html:
    """A thumbnail; grey where the photo cannot be read."""
    file = io.BytesIO()
    thumbnail(photo, _SIDE).save(file, "WEBP", quality=_QUALITY)
    return image(file.getvalue(), "webp", alt, width=_SIDE, height=_SIDE)


def card(photo: bytes, title: str, *notes: str, mark: str | None = None, **attributes: str | int) -> Html:
    """A photo with its title and notes under it.

    Args:
        photo: encoded.
        title: any text.
        notes: lines above the title.
        mark: `query` or `right`, which frames it.
        attributes: further ones of the card, as in `element`.
    """
    lines = [element("span", note, class_="note") for note in notes]
    words = element("figcaption", *lines, element("span", title, class_="title", title=title))
    return element("figure", picture(photo, title), words, class_=f"card {mark}" if mark else "card", **attributes)


def item_card(
    item_id: ItemId, item: ShopItem | None, *notes: str, mark: str | None = None, **attributes: str | int
) -> Html:
    """The card of an item; one that the catalogue does not have is named by its id."""
    if item is None:
        return card(b"", f"{item_id}, not in the catalogue", *notes, mark=mark, **attributes)
    return card(item.photo, item.title, *notes, mark=mark, **attributes)


def strip(*cards: Html) -> Html:
    """Cards side by side, in a box of their own in which they scroll."""
    return element("div", *cards, class_="strip", tabindex=0)
