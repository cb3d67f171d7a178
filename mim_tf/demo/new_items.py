"""Products that are new in the demo's shop, as its sellers would announce them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mim_tf.data.demo_catalogue import draw_catalogue, write_title
from mim_tf.data.demo_pictures import PALETTE, draw_product

_DRAWN_AT_ONCE = 256


class NewItem(NamedTuple):
    """A product that nobody has seen yet."""

    item_id: int
    title: str
    category: str
    image: bytes  # JPEG


def new_items(first_id: int, seed: int) -> Iterator[NewItem]:
    """Products without end, with ids from `first_id` on."""
    rng = np.random.default_rng(seed)
    while True:
        catalogue = draw_catalogue(_DRAWN_AT_ONCE, 1, rng)
        for number in range(len(catalogue)):
            look = catalogue.look(number)
            image = draw_product(look.category, PALETTE[look.tone][look.shade], look.pattern, rng)
            yield NewItem(first_id, write_title(catalogue, number, rng), look.category, image)
            first_id += 1


def announce(item: NewItem, folder: Path) -> None:
    """Put an item into the folder that the real-time process watches, whole."""
    image = base64.b64encode(item.image).decode()
    fields = {"item_id": item.item_id, "title": item.title, "image": image, "timestamp": time.time()}
    aside = folder / f".{item.item_id}.tmp"
    aside.write_text(json.dumps(fields) + "\n", encoding="utf-8")
    aside.rename(folder / f"{item.item_id}.jsonl")
