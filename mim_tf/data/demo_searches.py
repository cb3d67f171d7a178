"""The demo shop's visual search log: shoppers photograph something they like, search with it and buy an item.

The photo shows any kind of product in the bought item's tone and motif, in any shade of the tone and any pattern of
the motif: what the two have in common is what the shopper likes about them, not the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mim_tf.data.demo_behaviour import Impressions
from mim_tf.data.demo_catalogue import CATEGORIES, Catalogue
from mim_tf.data.demo_pictures import MOTIFS, PALETTE, draw_product

SECONDS_BEFORE_PURCHASE = 300


@dataclass(frozen=True)
class Searches:
    """One entry per search that ended in a purchase, in order of time; items are row numbers."""

    photo: list[bytes]
    item: np.ndarray
    second: np.ndarray  # since the log began


def draw_searches(catalogue: Catalogue, impressions: Impressions, count: int, rng: np.random.Generator) -> Searches:
    """Lets `count` of the purchases, or all where there are fewer, begin with a photo."""
    bought = np.flatnonzero(impressions.bought)
    rows = np.sort(rng.choice(bought, size=min(count, len(bought)), replace=False))
    items = impressions.item[rows]
    photos = [_photo(catalogue, item, rng) for item in items.tolist()]
    return Searches(photos, items, impressions.second[rows] - SECONDS_BEFORE_PURCHASE)


def _photo(catalogue: Catalogue, item: int, rng: np.random.Generator) -> bytes:
    look = catalogue.look(item)
    shades = list(PALETTE[look.tone].values())
    patterns = list(MOTIFS.values())[catalogue.motif[item]]
    shade, pattern = shades[rng.integers(len(shades))], patterns[rng.integers(len(patterns))]
    category = list(CATEGORIES)[rng.integers(len(CATEGORIES))]
    return draw_product(category, shade, pattern, rng, photo=True)
