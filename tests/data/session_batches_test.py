"""Rows of sessions out of prepared records, against sessions that are made of the log row by row."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mim_tf.data.preparation import prepare
from mim_tf.data.record_schema import TRAIN, RecordSchema
from mim_tf.data.records import read_impressions, read_sessions
from mim_tf.data.session_batches import rows_in
from mim_tf.errors import DataError
from tests.data.conftest import VALIDATION_FROM, toy_shop

SECONDS = 100
ROWS = 700
Key = tuple[int, int]  # user and query: the log's row number


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    """Three users with two full records each; `query` is the row's number, and its embedding too."""
    random = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "user_id": random.integers(1, 4, ROWS),
            "item_id": random.integers(100, 112, ROWS),
            "timestamp": VALIDATION_FROM - 5000 + np.sort(random.integers(0, 6000, ROWS)),
            "label": (random.random(ROWS) < 0.05).astype(np.int64),
            "query": np.arange(ROWS),
        }
    )
    return frame.assign(query_embedding=[[float(query), -1.0] for query in frame["query"]])


@pytest.fixture(scope="module")
def folder(log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the log, which nothing changes."""
    shop = toy_shop(tmp_path_factory.mktemp("shop"))
    shop.impressions = log
    settings = shop.settings(impression_features=["query"], session_seconds=SECONDS, history_length=3, pairs_share=0)
    prepare(**settings)
    return Path(settings["folder"])


def sessions_of(log: pd.DataFrame) -> list[list[Key]]:
    """The training sessions, by going through each user's rows in order."""
    sessions: list[list[Key]] = []
    train = log[log.timestamp < VALIDATION_FROM].sort_values(["timestamp", "item_id", "query"])
    for user, rows in train.groupby("user_id"):
        bought = log[(log.user_id == user) & (log.label == 1)].timestamp
        before, last = -1, 0
        for place, row in enumerate(rows.itertuples()):
            earlier = int((bought < row.timestamp).sum())
            if place % 128 == 0 or row.timestamp - last > SECONDS or earlier != before:
                sessions.append([])
            sessions[-1].append((user, row.query))
            before, last = earlier, row.timestamp
    return sessions


def rows_of(dataset: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    batches = list(dataset.as_numpy_iterator())
    return [
        {name: column[row] for name, column in batch.items()} for batch in batches for row in range(len(batch["label"]))
    ]


def shown_in(rows: list[dict[str, np.ndarray]]) -> list[list[Key]]:
    return [[(int(row["user_id"]), int(query)) for query in row["query"][row["is_shown"]]] for row in rows]


@pytest.mark.parametrize("candidates", [1, 3, 200])
def test_rows_are_sessions_or_parts_of_them(folder: Path, log: pd.DataFrame, candidates: int) -> None:
    sessions = sessions_of(log)
    expected = [part[at : at + candidates] for part in sessions for at in range(0, len(part), candidates)]
    rows = rows_of(read_sessions(folder, "train", candidates=candidates, rows=16))
    assert sorted(shown_in(rows)) == sorted(expected)
    assert max(map(len, sessions)) > 3, "the case is too small to show anything"
    shards = RecordSchema.load(folder).shards[TRAIN]
    assert rows_in(shards, candidates) == len(expected)
    sizes: Counter[int] = sum((Counter({int(k): v for k, v in shard.sessions.items()}) for shard in shards), Counter())
    assert sizes == Counter(map(len, sessions))


def test_each_impression_is_what_it_is_alone(folder: Path) -> None:
    """But for its time, which is the row's first, and its history, which all of the session have."""
    alone = {int(row["query"]): row for row in read_impressions(folder, "train").as_numpy_iterator()}
    rows = rows_of(read_sessions(folder, "train", candidates=4, rows=16))
    for row in rows:
        first = alone[int(row["query"][0])]
        assert row["timestamp"] == first["timestamp"]
        for place in np.flatnonzero(row["is_shown"]):
            single = alone.pop(int(row["query"][place]))
            for name in single.keys() - {"timestamp", "user_id"}:
                values = row[name] if name.startswith("history_") else row[name][place]
                np.testing.assert_array_equal(values, single[name], err_msg=name)
            assert row["user_id"] == single["user_id"]
    assert not alone, "impressions are missing"


def test_padding(folder: Path) -> None:
    dataset = read_sessions(folder, "train", candidates=5, rows=8, history_length=2)
    spec = {name: (spec.shape.as_list(), spec.dtype) for name, spec in dataset.element_spec.items()}
    assert spec == {
        "user_id": ([None], tf.int64),
        "timestamp": ([None], tf.int64),
        **{name: ([None, 5], tf.int64) for name in ("item_id", "label", "item_age", "query")},
        "category": ([None, 5], tf.string),
        "query_embedding": ([None, 5, 2], tf.float32),
        "is_shown": ([None, 5], tf.bool),
        **{f"history_{name}": ([None, 2], tf.int64) for name in ("item_id", "timestamp")},
        "history_category": ([None, 2], tf.string),
    }
    for row in rows_of(dataset):
        empty = ~row["is_shown"]
        assert list(row["is_shown"]) == sorted(row["is_shown"], reverse=True), "padding is at the end"
        assert (row["item_id"] == -1).tolist() == empty.tolist()
        assert (row["category"] == b"").tolist() == empty.tolist()
        for name in ("label", "item_age", "query", "query_embedding"):
            assert not row[name][empty].any()


def test_batches_are_full_but_for_the_last(folder: Path) -> None:
    shards = RecordSchema.load(folder).shards[TRAIN]
    for shuffle in (0, 50):
        dataset = read_sessions(folder, "train", candidates=2, rows=32, shuffle=shuffle)
        sizes = [len(batch["label"]) for batch in dataset.as_numpy_iterator()]
        assert set(sizes[:-1]) == {32}
        assert sum(sizes) == rows_in(shards, 2)


def test_the_order_is_the_seeds(folder: Path) -> None:
    def epoch(seed: int) -> list[list[Key]]:
        return shown_in(rows_of(read_sessions(folder, "train", candidates=4, rows=16, shuffle=200, seed=seed)))

    first = epoch(1)
    assert epoch(1) == first
    assert epoch(2) != first
    assert sorted(epoch(2)) == sorted(first)
    users = [session[0][0] for session in first]
    assert np.mean(np.diff(users) == 0) < 0.6, "three users, well mixed, follow themselves every third time"


def test_of_those_without_a_click_a_share_is_kept(folder: Path, log: pd.DataFrame) -> None:
    train = log[log.timestamp < VALIDATION_FROM].set_index("query")

    def kept(seed: int) -> dict[int, int]:
        rows = rows_of(read_sessions(folder, "train", candidates=3, rows=16, seed=seed, negatives_kept=0.3))
        assert all(row["is_shown"][0] for row in rows), "no row is empty"
        return {query: int(row["user_id"]) for row in rows for query in row["query"][row["is_shown"]]}

    first, second = kept(1), kept(2)
    negatives = int((train.label == 0).sum())
    for part in (first, second):
        assert set(train.index[train.label == 1]) <= set(part)
        share = (len(part) - train.label.sum()) / negatives
        # Of about 550 draws the share's standard deviation is .02.
        assert abs(share - 0.3) < 0.08
        assert all(train.user_id[query] == user for query, user in part.items())
    assert first.keys() != second.keys()
    assert kept(1) == first


def test_sessions_without_those_left_out_make_fewer_rows(folder: Path) -> None:
    """What is left of a session moves together: rows are full, whatever was left out between."""
    everything = sorted(shown_in(rows_of(read_sessions(folder, "train", candidates=200, rows=16))))
    thinned = shown_in(rows_of(read_sessions(folder, "train", candidates=3, rows=16, negatives_kept=0.5)))
    session = {key: number for number, keys in enumerate(everything) for key in keys}
    sizes: defaultdict[int, list[int]] = defaultdict(list)
    for row in thinned:
        assert len({session[key] for key in row}) == 1
        sizes[session[row[0]]].append(len(row))
    assert all(size == 3 for parts in sizes.values() for size in parts[:-1])


def test_workers_share_the_files(folder: Path) -> None:
    seen: list[list[Key]] = []
    for worker in range(2):
        context = tf.distribute.InputContext(2, worker, num_replicas_in_sync=2)
        dataset = read_sessions(folder, "train", candidates=4, rows=16, context=context)
        assert len(next(iter(dataset))["label"]) == 16
        seen += shown_in(rows_of(dataset))
    assert sorted(seen) == sorted(shown_in(rows_of(read_sessions(folder, "train", candidates=4, rows=16))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": 0}, r"`candidates` must be at least 1\. Received: 0"),
        ({"rows": 0}, r"`rows` must be at least 1\. Received: 0"),
        ({"negatives_kept": 1.5}, r"`negatives_kept` must be from 0 to 1\. Received: 1\.5"),
        ({"history_length": 0}, r"`history_length` must be at least 1\. Received: 0"),
        ({"split": "test"}, r"`split` must be one of \['train', 'validation'\]\. Received: 'test'"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_sessions(folder, **({"split": "train", "candidates": 4, "rows": 8} | options))
