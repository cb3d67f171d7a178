"""The demo shop's items: attributes, hidden communities, arrival days and titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mim_tf.data.demo_pictures import MOTIFS, PALETTE

COMMUNITIES = 4
# Share of the items that are in the shop before the first day, and how long ago the oldest came.
OPENING_STOCK = 0.5
OLDEST_DAYS = 60

# How often a title tells an attribute; the picture always shows colour and pattern, and never the material.
TELLS_COLOUR, TELLS_PATTERN, TELLS_MATERIAL = 0.6, 0.5, 0.9


@dataclass(frozen=True)
class Category:
    """What a category is called in titles, what it is made of, and how much its buyers look at content."""

    names: tuple[str, ...]
    materials: str
    content_weight: float


CATEGORIES: dict[str, Category] = {
    "T-shirt": Category(("T-shirt", "tee", "crew T-shirt"), "cloth", 1.3),
    "dress": Category(("dress", "summer dress", "midi dress"), "cloth", 1.4),
    "trousers": Category(("trousers", "pants"), "cloth", 1.2),
    "hat": Category(("hat", "headwear"), "cloth", 1.1),
    "sneakers": Category(("sneakers", "trainers", "shoes"), "leather", 1.2),
    "handbag": Category(("handbag", "bag", "top-handle bag"), "leather", 1.2),
    "watch": Category(("watch", "wristwatch"), "leather", 1.0),
    "umbrella": Category(("umbrella", "rain umbrella"), "cloth", 0.8),
    "mug": Category(("mug", "coffee mug", "cup"), "solid", 0.4),
    "chair": Category(("chair", "dining chair"), "solid", 0.7),
    "lamp": Category(("lamp", "table lamp"), "solid", 0.6),
    "cushion": Category(("cushion", "throw pillow"), "cloth", 0.9),
}

# Kind of product -> material taste -> the words a title uses for it.
MATERIALS: dict[str, dict[str, tuple[str, ...]]] = {
    "cloth": {
        "natural": ("cotton", "linen", "wool"),
        "refined": ("silk", "satin", "velvet"),
        "technical": ("nylon", "polyester", "microfibre"),
    },
    "leather": {
        "natural": ("canvas", "cork", "hemp"),
        "refined": ("leather", "suede", "velvet"),
        "technical": ("nylon", "mesh", "silicone"),
    },
    "solid": {
        "natural": ("bamboo", "wooden", "stoneware"),
        "refined": ("porcelain", "brass", "crystal"),
        "technical": ("steel", "aluminium", "acrylic"),
    },
}
MATERIAL_TASTES = ("natural", "refined", "technical")

PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid-colour"),
    "striped": ("striped", "stripy"),
    "dotted": ("polka dot", "dotted"),
    "checked": ("checked", "plaid"),
    "starred": ("star print", "starry"),
}
OPENINGS = ("new", "classic", "everyday", "modern", "lovely", "original", "weekend", "popular")
ENDINGS = ("by Norvik", "by Casa Lumo", "by Tamblin", "gift idea", "new season", "bestseller", "free returns")


@dataclass(frozen=True)
class Look:
    """What the picture of an item shows, by name."""

    category: str
    tone: str
    shade: str
    pattern: str


@dataclass(frozen=True)
class Catalogue:
    """The items' attributes, one array entry per item; the integers index the tables named beside them."""

    category: np.ndarray  # CATEGORIES
    tone: np.ndarray  # PALETTE
    shade: np.ndarray  # the tone's shades
    motif: np.ndarray  # MOTIFS
    variant: np.ndarray  # the motif's patterns, beginning again after the last
    material: np.ndarray  # MATERIAL_TASTES
    community: np.ndarray  # hidden: neither picture nor title tells it
    popularity: np.ndarray  # added to the logit of a purchase
    arrival_day: np.ndarray  # negative before the log begins

    def __len__(self) -> int:
        return len(self.category)

    def content(self) -> np.ndarray:
        """One-hot tone, motif and material side by side: [items, 4 + 3 + 3]."""
        blocks = ((self.tone, PALETTE), (self.motif, MOTIFS), (self.material, MATERIAL_TASTES))
        return np.concatenate([np.eye(len(table))[values] for values, table in blocks], axis=1)

    def content_weight(self) -> np.ndarray:
        """How much content counts for each item, which its category decides: [items]."""
        return np.array([category.content_weight for category in CATEGORIES.values()])[self.category]

    def look(self, item: int) -> Look:
        """What the item's picture shows."""
        tone = list(PALETTE)[self.tone[item]]
        patterns = list(MOTIFS.values())[self.motif[item]]
        return Look(
            category=list(CATEGORIES)[self.category[item]],
            tone=tone,
            shade=list(PALETTE[tone])[self.shade[item]],
            pattern=patterns[self.variant[item] % len(patterns)],
        )


def draw_catalogue(items: int, days: int, rng: np.random.Generator) -> Catalogue:
    """Draws every attribute independently of the others, so that no taste can be read off another."""
    return Catalogue(
        category=rng.integers(len(CATEGORIES), size=items),
        tone=rng.integers(len(PALETTE), size=items),
        shade=rng.integers(min(map(len, PALETTE.values())), size=items),
        motif=rng.integers(len(MOTIFS), size=items),
        variant=rng.integers(max(map(len, MOTIFS.values())), size=items),
        material=rng.integers(len(MATERIAL_TASTES), size=items),
        community=rng.integers(COMMUNITIES, size=items),
        popularity=rng.normal(0.0, 0.1, size=items),
        arrival_day=_arrival_days(items, days, rng),
    )


def write_title(catalogue: Catalogue, item: int, rng: np.random.Generator) -> str:
    """A title as a seller might write it: it leaves things out, uses synonyms and adds words that mean nothing."""
    look = catalogue.look(item)
    category = CATEGORIES[look.category]
    material = MATERIALS[category.materials][MATERIAL_TASTES[catalogue.material[item]]]
    words = [
        _one_of(OPENINGS, rng) if rng.random() < 0.4 else "",
        look.shade if rng.random() < TELLS_COLOUR else "",
        _one_of(PATTERN_WORDS[look.pattern], rng) if rng.random() < TELLS_PATTERN else "",
        _one_of(material, rng) if rng.random() < TELLS_MATERIAL else "",
        _one_of(category.names, rng),
        f"- {_one_of(ENDINGS, rng)}" if rng.random() < 0.3 else "",
    ]
    title = " ".join(word for word in words if word)
    return title[0].upper() + title[1:]


def _arrival_days(items: int, days: int, rng: np.random.Generator) -> np.ndarray:
    """An opening stock of mixed age, then one newcomer after another at even pace until the last day."""
    stock = round(OPENING_STOCK * items)
    newcomers = items - stock
    before = -rng.integers(OLDEST_DAYS + 1, size=stock)
    during = np.floor(days * (np.arange(newcomers) + rng.random(newcomers)) / newcomers).astype(np.int64)
    return rng.permutation(np.concatenate([before, during]))


def _one_of(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
