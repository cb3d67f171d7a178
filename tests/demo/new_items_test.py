"""New products of the demo: events that the real-time process takes, drawn anew in every run."""

import time
from itertools import islice
from pathlib import Path

import numpy as np

from mim_tf.data.demo_catalogue import CATEGORIES
from mim_tf.demo.candidates import with_items
from mim_tf.demo.new_items import announce, new_items
from mim_tf.realtime.event import EventParser
from mim_tf.realtime.folder_source import FolderSource


def test_an_announced_item_is_an_event(tmp_path: Path) -> None:
    items = list(islice(new_items(7, seed=0), 300))
    assert [item.item_id for item in items] == list(range(7, 307))
    before = time.time()
    for item in items[:5]:
        announce(item, tmp_path)
    parse = EventParser("int64", ["title"], None)
    events = [parse(message) for message in FolderSource(tmp_path, tmp_path / "progress").poll(9, 0.0)]
    told = sorted((event.item_id, event.title, event.image) for event in events)
    assert told == [(item.item_id, item.title, item.image) for item in items[:5]]
    assert all(before - 1 < event.time.astype(float) / 1e6 < time.time() + 1 for event in events)
    assert {item.category for item in items} == set(CATEGORIES)


def test_runs_draw_other_products() -> None:
    one, again, other = ([item.image for item in islice(new_items(1, seed), 3)] for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_a_request_for_other_items() -> None:
    candidates = {
        "item_id": np.array([1, 2]),
        "category": np.array([b"mug", b"hat"], object),
        "history_item_id": np.array([[5, -1], [5, -1]]),
        "label": np.array([0, 1]),
    }
    request = with_items(candidates, [7, 8, 9], ["a", "b", "c"])
    assert request["item_id"].tolist() == [7, 8, 9]
    assert request["category"].tolist() == ["a", "b", "c"]
    assert request["history_item_id"].tolist() == [[5, -1]] * 3
