"""Events: what is taken in, and what never can be, with the reason."""

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem

from mim_tf.data.contract import _title
from mim_tf.data.images import ImageFolder
from mim_tf.realtime.event import BadEventError, EventParser, Message, joined_title
from tests.realtime.pictures import picture

PICTURE = picture(1)
ARRIVED = 1743984000.5  # 2025-04-07 00:00:00.5 UTC
GOOD = {"item_id": 7, "title": "Red mug", "image": base64.b64encode(PICTURE).decode()}


def parsed(fields: Any, id_type: str = "int64", title: tuple[str, ...] = ("title",), folder: Path | None = None) -> Any:
    images = ImageFolder(LocalFileSystem(), str(folder)) if folder else None
    payload = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return EventParser(id_type, title, images)(Message(payload, "here", ARRIVED))


def test_an_item_as_it_comes() -> None:
    event = parsed({**GOOD, "timestamp": 1743984000.25, "price": 3})
    assert (event.item_id, event.title, event.image) == (7, "Red mug", PICTURE)
    assert event.time == np.datetime64("2025-04-07T00:00:00.250000")  # 1743984000 s is 2025-04-07 00:00 UTC
    assert event.told
    without = parsed(GOOD)  # a time: that of its arrival
    assert (without.time, without.told) == (np.datetime64("2025-04-07T00:00:00.500000"), False)
    assert parsed({**GOOD, "item_id": "sku"}, "string").item_id == "sku"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1743984000, "2025-04-07T00:00:00"),
        ("2025-04-07", "2025-04-07T00:00:00"),
        ("2025-04-07T02:30:00+02:30", "2025-04-07T00:00:00"),
        ("2025-04-07T00:00:00Z", "2025-04-07T00:00:00"),
    ],
)
def test_times(given: Any, expected: str) -> None:
    assert parsed({**GOOD, "timestamp": given}).time.item() == datetime.fromisoformat(expected)


def test_titles_are_joined_as_prepare_joins_them() -> None:
    rows = [[" Mug\t", "", "red "], ["", "", " "], ["a", "b", "c"], ["\u00a0x", "\n", "y"]]
    columns = {name: [row[place] for row in rows] for place, name in enumerate("abc")}
    table = ibis.memtable(pa.table(columns))
    expected = table.select(title=_title(table, list("abc"))).to_pyarrow()["title"].to_pylist()
    assert [joined_title(row) for row in rows] == expected
    assert parsed({**GOOD, "colour": "red"}, title=("title", "brand", "colour")).title == "Red mug. red"


def test_an_image_may_be_a_file_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    assert parsed({"item_id": 7, "title": "x", "image_path": "a.png"}, folder=tmp_path).image == PICTURE
    with pytest.raises(BadEventError, match="image path outside the folder"):
        parsed({"item_id": 7, "title": "x", "image_path": "../a.png"}, folder=tmp_path)
    with pytest.raises(BadEventError, match="unreadable image file"):
        parsed({"item_id": 7, "title": "x", "image_path": "b.png"}, folder=tmp_path)
    with pytest.raises(BadEventError, match=r"image \(base64\) must be given"):
        parsed({"item_id": 7, "title": "x", "image_path": "a.png"})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (b"{", "no JSON: Expecting"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"7", "a JSON object is wanted. Received: int"),
        ({**GOOD, "item_id": None}, "missing item_id"),
        ({**GOOD, "item_id": -1}, "reserved item_id"),
        ({**GOOD, "item_id": "7"}, "item_id must be int64. Received: '7'"),
        ({**GOOD, "item_id": 7.0}, "item_id must be int64. Received: 7.0"),
        ({**GOOD, "item_id": True}, "item_id must be int64. Received: True"),
        ({**GOOD, "item_id": 2**63}, "item_id must be int64"),
        ({**GOOD, "title": "  "}, "empty title"),
        ({**GOOD, "title": None}, "empty title"),
        ({**GOOD, "title": 5}, "title must be text. Received: 5"),
        ({**GOOD, "title": "\ud800"}, "title must be Unicode text"),
        ({**GOOD, "image": "*"}, "image must be base64"),
        ({**GOOD, "image": ""}, "undecodable image"),
        ({**GOOD, "image": base64.b64encode(PICTURE[:50]).decode()}, "undecodable image"),
        ({**GOOD, "image": None}, "image .base64. must be given"),
        ({**GOOD, "timestamp": "soon"}, "timestamp must be seconds or ISO 8601. Received: 'soon'"),
        ({**GOOD, "timestamp": 1e300}, "timestamp must be seconds or ISO 8601"),
        ({**GOOD, "timestamp": [1]}, "timestamp must be seconds or ISO 8601"),
        ({**GOOD, "timestamp": "0001-01-01T00:00:00+05:00"}, "timestamp must be seconds or ISO 8601"),
        ({**GOOD, "timestamp": "9999-12-31T23:59:59-05:00"}, "timestamp must be seconds or ISO 8601"),
        ({**GOOD, "timestamp": ARRIVED + 3602}, "timestamp must not be in the future"),
    ],
)
def test_what_can_never_be_taken_in(fields: Any, reason: str) -> None:
    with pytest.raises(BadEventError, match=reason):
        parsed(fields)


def test_string_ids_that_cannot_be() -> None:
    with pytest.raises(BadEventError, match="reserved item_id"):
        parsed({**GOOD, "item_id": ""}, "string")
    with pytest.raises(BadEventError, match="item_id must be Unicode text"):
        parsed({**GOOD, "item_id": "\ud800"}, "string")


def test_a_storage_of_images_that_is_away_is_no_fault_of_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"item_id": 7, "title": "x", "image_path": "a.png"}

    def away(*_: object) -> bool:
        raise PermissionError("not now")

    monkeypatch.setattr(LocalFileSystem, "isfile", away)
    with pytest.raises(PermissionError, match="not now"):
        parsed(fields, folder=Path("/"))
