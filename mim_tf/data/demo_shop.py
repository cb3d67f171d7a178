"""A made-up shop to try everything on: drawn product pictures, titles, and customers who have two kinds of taste.

`python -m mim_tf.data.demo_shop --out DIR` writes one. What users buy follows their taste in content, which pictures
and titles show, and their liking for hidden communities of items, which only other customers' purchases reveal:

```
P(u buys i) = sigmoid(content_strength * content_weight[category(i)] * <taste(u), content(i)>
                      + id_strength * affinity(u, community(i)) + popularity(i)
                      + fashion_strength * <fashion(day), content(i)> + intercept)
```

So a model needs content and item IDs, and for the items that keep arriving it has content alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mim_tf.data.demo_behaviour import DAY_SECONDS, Impressions, draw_fashions, draw_tastes, simulate
from mim_tf.data.demo_catalogue import MATERIAL_TASTES, Catalogue, draw_catalogue, write_title
from mim_tf.data.demo_pictures import MOTIFS, PALETTE, draw_product
from mim_tf.data.demo_searches import Searches, draw_searches

FIRST_SECOND = 1_735_689_600  # 2025-01-01 00:00:00 UTC
FIRST_ITEM_ID = 100_001
FIRST_USER_ID = 1
FEWEST = {"items": 50, "users": 10, "days": 10, "searches": 10}
STRONGEST = 5.0


def make_demo_shop(
    folder: str | os.PathLike[str],
    *,
    items: int = 600,
    users: int = 800,
    days: int = 120,
    searches: int = 2500,
    seed: int = 0,
    content_strength: float = 1.0,
    id_strength: float = 1.0,
    fashion_strength: float = 0.0,
) -> None:
    """Draws the shop and writes it as parquet files.

    - `items.parquet`: `item_id`, `title`, `category`, `image` (JPEG bytes), `first_seen` (seconds UTC).
    - `impressions.parquet`: `user_id`, `item_id`, `timestamp` (seconds UTC), `label` (1 = bought), in order of time.
      The items of one session share user and timestamp.
    - `pairs.parquet`: `query_image` (JPEG bytes), `user_id`, `item_id`, `action` ("purchase" or "click"), `timestamp`:
      the visual search log.
    - `truth/items.parquet`, `truth/impressions.parquet`: the hidden attributes, and the `logit` behind each
      impression row by row. They are there to measure models against and are never to be trained on.

    The same arguments give the same files. The folder appears at once, whole.

    Args:
        folder: where to write; must be new or empty.
        items: how many items; half of them arrive while the log runs.
        users: how many users; each buys about 14 items.
        days: length of the log.
        searches: how many of the purchases begin with a photo, all where there are fewer; and as many looks at items
            that were not bought.
        seed: seed of all random draws.
        content_strength: scale of the taste in content; 0 removes it.
        id_strength: scale of the liking for communities; 0 removes it.
        fashion_strength: scale of what all users like for a while; 0 makes all days alike.

    Raises:
        ValueError: an argument is out of range, or the folder holds something.
    """
    target = Path(folder)
    _check_sizes({"items": items, "users": users, "days": days, "searches": searches}, seed)
    _check_strengths(
        {"content_strength": content_strength, "id_strength": id_strength, "fashion_strength": fashion_strength}
    )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"`folder` must be new or empty. Received: {target}.")

    # Each part draws from its own stream: a change in how pictures are drawn leaves the behaviour as it was.
    streams = [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(7)]
    catalogue = draw_catalogue(items, days, streams[0])
    impressions = simulate(
        catalogue,
        draw_tastes(users, streams[1]),
        draw_fashions(days, streams[6]),
        streams[2],
        content_strength=content_strength,
        id_strength=id_strength,
        fashion_strength=fashion_strength,
    )
    tables = {
        "items": _items(catalogue, titles=streams[3], pictures=streams[4]),
        "impressions": _impressions(impressions),
        "pairs": _pairs(draw_searches(catalogue, impressions, searches, streams[5])),
        "truth/items": _true_items(catalogue),
        "truth/impressions": pa.table({"logit": impressions.logit}),
    }
    _write(tables, target)


def _check_sizes(sizes: dict[str, int], seed: int) -> None:
    for name, size in sizes.items():
        if size < FEWEST[name]:
            raise ValueError(f"`{name}` must be at least {FEWEST[name]}. Received: {size}.")
    if seed < 0:
        raise ValueError(f"`seed` must not be negative. Received: {seed}.")


def _check_strengths(strengths: dict[str, float]) -> None:
    for name, strength in strengths.items():
        if not 0 <= strength <= STRONGEST:
            raise ValueError(f"`{name}` must be between 0 and {STRONGEST}. Received: {strength}.")


def _items(catalogue: Catalogue, *, titles: np.random.Generator, pictures: np.random.Generator) -> pa.Table:
    looks = [catalogue.look(item) for item in range(len(catalogue))]
    images = [draw_product(look.category, PALETTE[look.tone][look.shade], look.pattern, pictures) for look in looks]
    return pa.table(
        {
            "item_id": _item_ids(np.arange(len(catalogue))),
            "title": [write_title(catalogue, item, titles) for item in range(len(catalogue))],
            "category": [look.category for look in looks],
            "image": pa.array(images, pa.binary()),
            "first_seen": FIRST_SECOND + DAY_SECONDS * catalogue.arrival_day,
        }
    )


def _impressions(impressions: Impressions) -> pa.Table:
    return pa.table(
        {
            "user_id": FIRST_USER_ID + impressions.user,
            "item_id": _item_ids(impressions.item),
            "timestamp": FIRST_SECOND + impressions.second,
            "label": impressions.bought,
        }
    )


def _pairs(searches: Searches) -> pa.Table:
    return pa.table(
        {
            "query_image": pa.array(searches.photo, pa.binary()),
            "user_id": FIRST_USER_ID + searches.user,
            "item_id": _item_ids(searches.item),
            "action": np.where(searches.bought, "purchase", "click"),
            "timestamp": FIRST_SECOND + searches.second,
        }
    )


def _true_items(catalogue: Catalogue) -> pa.Table:
    return pa.table(
        {
            "item_id": _item_ids(np.arange(len(catalogue))),
            "tone": [list(PALETTE)[tone] for tone in catalogue.tone],
            "motif": [list(MOTIFS)[motif] for motif in catalogue.motif],
            "material": [MATERIAL_TASTES[material] for material in catalogue.material],
            "pattern": [catalogue.look(item).pattern for item in range(len(catalogue))],
            "content_weight": catalogue.content_weight(),
            "community": catalogue.community,
            "popularity": catalogue.popularity,
        }
    )


def _item_ids(rows: np.ndarray) -> np.ndarray:
    return FIRST_ITEM_ID + rows.astype(np.int64)


def _write(tables: dict[str, pa.Table], target: Path) -> None:
    """Writes all tables into a folder beside the target and renames it: no half-written shop is taken for whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}.{os.getpid()}.part"
    try:
        for name, table in tables.items():
            file = aside / f"{name}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, file)
        aside.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m mim_tf.data.demo_shop",
        description="Write a made-up shop (pictures, titles, purchases) to try the stages on. Takes seconds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", required=True, default=argparse.SUPPRESS, help="folder to write; must be new or empty")
    parser.add_argument("--items", type=int, default=600, help="number of items; half of them arrive during the log")
    parser.add_argument("--users", type=int, default=800, help="number of users; each buys about 14 items")
    parser.add_argument("--days", type=int, default=120, help="length of the log in days")
    parser.add_argument("--searches", type=int, default=2500, help="purchases that begin with a photo; as many looks")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same shop")
    chosen = parser.parse_args(arguments)
    try:
        make_demo_shop(
            chosen.out,
            items=chosen.items,
            users=chosen.users,
            days=chosen.days,
            searches=chosen.searches,
            seed=chosen.seed,
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"{chosen.items} items and the purchases of {chosen.users} users are in {chosen.out}.")


if __name__ == "__main__":
    main()
