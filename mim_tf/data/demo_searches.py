"""The demo shop's visual search log: shoppers photograph something they like, search with it and choose an item.

The photo shows any kind of product, in any shade of a tone and any pattern of a motif. Where the search ended in a
purchase, tone and motif are the bought item's: what the two have in common is what the shopper likes about them, not
the pixels. An item that was only looked at shares one of the two with the photo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mim_tf.data.demo_behaviour import Impressions
from mim_tf.data.demo_catalogue import CATEGORIES, Catalogue
from mim_tf.data.demo_pictures import MOTIFS, PALETTE, draw_product

SECONDS_BEFORE_CHOICE = 300


@dataclass(frozen=True)
class Searches:
    """One entry per search, in order of time; users and items are row numbers."""

    photo: list[bytes]
    user: np.ndarray
    item: np.ndarray
    bought: np.ndarray  # 1: bought, 0: only looked at
    second: np.ndarray  # since the log began


def draw_searches(catalogue: Catalogue, impressions: Impressions, count: int, rng: np.random.Generator) -> Searches:
    """Lets `count` of the purchases, or all where there are fewer, begin with a photo, and as many mere looks."""
    bought_rows = _sample(impressions.bought == 1, count, rng)
    rows = np.sort(np.concatenate([bought_rows, _sample(impressions.bought == 0, len(bought_rows), rng)]))
    items, bought = impressions.item[rows], impressions.bought[rows]
    photos = [_photo(catalogue, item, bool(is_bought), rng) for item, is_bought in zip(items, bought, strict=True)]
    return Searches(photos, impressions.user[rows], items, bought, impressions.second[rows] - SECONDS_BEFORE_CHOICE)


def _sample(wanted: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(wanted)
    return rng.choice(rows, size=min(count, len(rows)), replace=False)


def _photo(catalogue: Catalogue, item: int, is_bought: bool, rng: np.random.Generator) -> bytes:
    tone, motif = catalogue.tone[item], catalogue.motif[item]
    if not is_bought:
        other_tone, other_motif = rng.integers(len(PALETTE)), rng.integers(len(MOTIFS))
        tone, motif = (tone, other_motif) if rng.random() < 0.5 else (other_tone, motif)
    shades, patterns = list(list(PALETTE.values())[tone].values()), list(MOTIFS.values())[motif]
    shade, pattern = shades[rng.integers(len(shades))], patterns[rng.integers(len(patterns))]
    category = list(CATEGORIES)[rng.integers(len(CATEGORIES))]
    return draw_product(category, shade, pattern, rng, photo=True)
