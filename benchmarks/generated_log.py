"""A shop with a log of any size, to measure preparation with: `python -m benchmarks.generated_log --to DIR`.

Users come in sessions of about eight impressions, seconds apart, and buy one impression in ten. The log is skewed as
real ones are: activity and popularity fall off with the rank, one user has a twentieth of all impressions (a million of
20 million), and one category has half the items. Files hold a day each, in the order of time.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

DAYS = 28
FIRST_SECOND = 1_700_006_400  # 2023-11-15 00:00 UTC
SECONDS_PER_DAY = 86_400
_USERS_SHARE, _BOUGHT, _SESSION = 0.05, 0.1, 8
_ROWS_AT_ONCE = 2**18


def write_items(path: Path, items: int, seed: int) -> None:
    """A catalogue of tiny pictures: `item_id, title, category, image`."""
    random = np.random.default_rng(seed)
    pictures = [_picture(colour) for colour in random.integers(0, 256, [256, 3])]
    # Half of the items are of one category, the rest of a hundred.
    category = np.where(random.random(items) < 0.5, 0, random.integers(1, 101, items))
    colour = random.integers(0, 256, items)
    columns = {
        "item_id": np.arange(items),
        "title": [f"Thing {number} of shade {shade}" for number, shade in enumerate(colour)],
        "category": [f"category {number}" for number in category],
        "image": pa.array([pictures[shade] for shade in colour], pa.binary()),
    }
    pq.write_table(pa.table(columns), path)


def write_impressions(folder: Path, impressions: int, users: int, items: int, seed: int) -> None:
    """A log with one file per day: `user_id, item_id, timestamp, label`."""
    folder.mkdir(parents=True, exist_ok=True)
    activity = _falling(users)
    popularity = _falling(items)
    for day in range(DAYS):
        random = np.random.default_rng([seed, day])
        rows = impressions * (day + 1) // DAYS - impressions * day // DAYS
        table = _day(random, rows, day, activity, popularity)
        pq.write_table(table, folder / f"day-{day:02d}.parquet", row_group_size=_ROWS_AT_ONCE)


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generated_log", description=__doc__)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="items.parquet and impressions/ go here")
    parser.add_argument("--impressions", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, help="default: one for 200 impressions")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    users = arguments.users or max(arguments.impressions // 200, 2)
    arguments.to.mkdir(parents=True, exist_ok=True)
    write_items(arguments.to / "items.parquet", arguments.items, arguments.seed)
    folder = arguments.to / "impressions"
    write_impressions(folder, arguments.impressions, users, arguments.items, arguments.seed)


def _picture(colour: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(int(part) for part in colour)).save(file, "PNG")
    return file.getvalue()


def _falling(count: int) -> np.ndarray:
    """Shares that fall with the root of the rank, cumulated."""
    return np.cumsum(share := 1 / np.sqrt(np.arange(1, count + 1))) / share.sum()


def _day(random: np.random.Generator, rows: int, day: int, activity: np.ndarray, popularity: np.ndarray) -> pa.Table:
    sizes = np.concatenate(list(_sessions(random, rows)))
    user = np.searchsorted(activity, random.random(len(sizes)))
    user[random.random(len(sizes)) < _USERS_SHARE] = 0
    start = random.integers(0, SECONDS_PER_DAY, len(sizes))
    session = np.repeat(np.arange(len(sizes)), sizes)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    # The n-th impression of a session comes some seconds after the one before it.
    waits = np.cumsum(random.integers(0, 20, rows))
    time = start[session] + waits - waits[first]
    order = np.argsort(time, kind="stable")
    columns = {
        "user_id": user[session],
        "item_id": np.minimum(np.searchsorted(popularity, random.random(rows)), len(popularity) - 1),
        "timestamp": FIRST_SECOND + day * SECONDS_PER_DAY + time,
        "label": (random.random(rows) < _BOUGHT).astype(np.int64),
    }
    return pa.table({name: column[order] for name, column in columns.items()})


def _sessions(random: np.random.Generator, rows: int) -> Iterator[np.ndarray]:
    """Sizes of sessions that add up to the rows."""
    while rows > 0:
        sizes = random.geometric(1 / _SESSION, max(rows // _SESSION, 1))
        sizes = sizes[np.cumsum(sizes) <= rows] if sizes.sum() > rows else sizes
        sizes = sizes if len(sizes) else np.array([rows])
        rows -= int(sizes.sum())
        yield sizes


if __name__ == "__main__":
    main()
