"""A small shop made on the spot: 12 items in 3 categories, 6 users, 200 impressions."""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from mim_tf.data.catalogue_writer import write_catalogue
from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.record_writer import write_shards
from mim_tf.data.workspace import Workspace, open_workspace

VALIDATION_FROM = 80 * 86_400


def picture(number: int) -> bytes:
    """A PNG of 3 x 2 pixels whose colour tells its number."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2), (number % 256, number // 256, 7)).save(file, "PNG")
    return file.getvalue()


def write_catalogue_of(
    folder: Path, categories: Sequence[str], neighbours: Sequence[str] | None = None, held_out: Sequence[int] = ()
) -> Path:
    """Records of items whose row numbers are their ids, and the catalogue of them; `categories` are in order."""
    rows, splits = len(categories), {"items/train": [], "items/held_out": list(held_out)}
    splits["items/train"] = [row for row in range(rows) if row not in splits["items/held_out"]]
    position, shards = np.zeros(rows, np.int64), {}
    for name, members in splits.items():
        position[members] = np.random.default_rng(len(members)).permutation(len(members))
        written = sorted(members, key=lambda row: position[row])
        images = pa.array([f"image {row}".encode() + b"\0" * (row % 5) for row in written])
        titles, of = [f"title {row}" for row in written], [categories[row] for row in written]
        batch = pa.record_batch({"item_id": pa.array(written), "title": titles, "category": of, "image": images})
        shards[name] = write_shards(
            folder, name, [batch] if members else [], total=len(members), shards=3, progress=lambda *_: None
        )
    listed = {
        "item_id": np.arange(rows),
        "category": list(categories),
        "held_out": np.isin(np.arange(rows), splits["items/held_out"]),
        "position": position,
    }
    listed |= {"neighbours": list(neighbours)} if neighbours else {}
    write_catalogue(folder, pa.table(listed), shards["items/train"], shards["items/held_out"])
    counts = {name: len(members) for name, members in splits.items()}
    RecordSchema("int64", None, None, counts, shards).save(str(folder))
    return folder


@dataclass
class Shop:
    """The shop's tables as data frames, to be changed before they are written."""

    folder: Path
    items: pd.DataFrame
    impressions: pd.DataFrame

    def write(self, name: str, frame: pd.DataFrame) -> Path:
        """Write one table in the format its name's ending asks for."""
        path = self.folder / name
        if path.suffix == ".parquet":
            frame.to_parquet(path, index=False)
        elif path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
        return path

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Write the tables as Parquet and give the arguments of `prepare`."""
        settings: dict[str, Any] = {
            "items": self.write("items.parquet", self.items),
            "impressions": self.write("impressions.parquet", self.impressions),
            "folder": self.folder / "records",
            "validation_from": VALIDATION_FROM,
            "history_length": 3,
            "shards": 2,
        }
        return settings | changes


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An engine for one test."""
    with open_workspace(tmp_path) as workspace:
        yield workspace


@pytest.fixture
def tabled(workspace: Workspace) -> Callable[[pd.DataFrame], Any]:
    """Turns a data frame into a table of the engine."""
    numbers = itertools.count()

    def table(frame: pd.DataFrame) -> Any:
        path = workspace.scratch / f"frame-{next(numbers)}.parquet"
        frame.to_parquet(path, index=False)
        return workspace.connection.read_parquet(str(path))

    return table


def toy_shop(folder: Path) -> Shop:
    """Days collide, users buy the same item twice, and one user never buys."""
    random = np.random.default_rng(1)
    items = pd.DataFrame(
        {
            "item_id": np.arange(100, 112),
            "title": [f"thing {number}" for number in range(12)],
            "category": [("bag", "hat", "shoe")[number % 3] for number in range(12)],
            "image": [picture(number) for number in range(12)],
        }
    )
    rows = 200
    impressions = pd.DataFrame(
        {
            "user_id": random.integers(1, 7, rows),
            "item_id": random.integers(100, 112, rows),
            "timestamp": random.integers(0, 100, rows) * 86_400,
            "label": (random.random(rows) < 0.4).astype(np.int64),
        }
    )
    impressions.loc[impressions.user_id == 6, "label"] = 0
    return Shop(folder, items, impressions)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """One that a test may change."""
    return toy_shop(tmp_path)
