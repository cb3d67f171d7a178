"""The section of neighbours: what the encoders take for alike, by image, by title, and fused."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mim_tf.metrics import nearest
from mim_tf.pages.markup import Html, element, paragraph
from mim_tf.pages.section import Section
from mim_tf.report.cards import item_card
from mim_tf.report.shop_items import ItemId, ShopItem, ShopItems
from mim_tf.settings import Settings
from mim_tf.training.catalogue_embeddings import CatalogueEmbeddings, embed_items
from mim_tf.training.changed_items import plain_ids
from mim_tf.training.models import load_item_encoder
from mim_tf.workdir import StageFolder

# Among so many items neighbours are sought. The store has h_MM alone, so their images and titles are embedded anew.
MOST_EMBEDDED = 1000
_ITEMS, _NEIGHBOURS = 6, 6


def neighbours_section(settings: Settings, workdir: Path, items: ShopItems) -> Section:
    """Sample items of different categories, each with its nearest ones by three embeddings, side by side."""
    rows = items.sample(MOST_EMBEDDED)
    shown = items.spread(rows, _ITEMS)
    encoder = load_item_encoder(StageFolder(workdir, "represent"), settings.encoders.precision)
    size = min(settings.represent.batch_size, len(rows))
    embeddings = embed_items(encoder, items.records(rows), size)
    places = np.flatnonzero(np.isin(rows, shown))
    found = neighbours_by_embedding(embeddings, places, min(_NEIGHBOURS, len(rows) - 1))
    ids = plain_ids(embeddings.item_ids)
    known = items.find({ids[place] for place in places} | {ids[row] for one in found.values() for row in one[0].flat})
    content = [_introduction(len(rows), len(items), settings)]
    for number, place in enumerate(places):
        of_item = {name: (best[number], cosines[number]) for name, (best, cosines) in found.items()}
        content.append(_item(ids, int(place), of_item, known))
    return Section("neighbours", "Nearest neighbours of some items", content)


def neighbours_by_embedding(
    embeddings: CatalogueEmbeddings, places: np.ndarray, count: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The nearest items to some of them by cosine, themselves left out.

    Args:
        embeddings: of all items among which is sought.
        places: `[queries]`, which of them are the queries.
        count: neighbours of each, fewer than there are items.

    Returns:
        By image, by title and by the fused embedding: places of the neighbours, `[queries, count]`, and their cosines.
    """
    found = {}
    for name, rows in zip(("image", "title", "fused, h_MM"), embeddings[1:], strict=True):
        best = nearest(rows[places], rows, count, excluded=places) if count else np.empty((len(places), 0), np.int64)
        units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        found[name] = best, np.einsum("qd,qnd->qn", units[places], units[best])
    return found


def _introduction(embedded: int, there_are: int, settings: Settings) -> Html:
    among = (
        "all items" if embedded == there_are else f"{embedded:,} of the {there_are:,} items, drawn by a hash of the id"
    )
    centred = settings.represent.centre and settings.represent.encoder is None
    return paragraph(
        f"Items of different categories, drawn by a hash of the id, and what lies nearest to them among {among}: by "
        "the image alone (F_V), by the title alone (F_L), and by both, fused (h_MM, which the click model gets). "
        "Numbers are cosines"
        + ("; those of h_MM are around the catalogue's mean (represent.centre)." if centred else "."),
    )


def _item(
    ids: np.ndarray, place: int, found: dict[str, tuple[np.ndarray, np.ndarray]], known: dict[ItemId, ShopItem]
) -> Html:
    def neighbour(row: int, cosine: float) -> Html:
        item = known.get(ids[row])
        return item_card(ids[row], item, f"{cosine:.3f}", *([item.category] if item else []))

    columns = [
        element(
            "div",
            element("h4", f"by {name}"),
            element("div", *(neighbour(*one) for one in zip(*best, strict=True)), class_="grid"),
        )
        for name, best in found.items()
    ]
    item = known.get(ids[place])
    own = item_card(ids[place], item, *([item.category] if item else []), mark="query")
    return element("div", own, element("div", *columns, class_="columns"), class_="neighbours")
