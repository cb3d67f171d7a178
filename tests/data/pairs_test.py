"""Interest pairs: mined ones against a brute force, logged ones by hand."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data.pairs import logged_pairs, mined_pairs, purchases_of

DAY = 86_400
ITEMS = pd.DataFrame({"__row": range(50, 62), "item_id": range(12), "category": [f"c{item % 3}" for item in range(12)]})


Tabled = Callable[[pd.DataFrame], Any]


def mine(tabled: Tabled, impressions: pd.DataFrame, per_purchase: int, window_days: int) -> list[dict[str, Any]]:
    purchases = purchases_of(tabled(impressions))
    pairs = mined_pairs(purchases, tabled(ITEMS), per_purchase=per_purchase, window_days=window_days)
    rows: list[dict[str, Any]] = pairs.to_pyarrow().to_pylist()
    return rows


def brute_force(impressions: pd.DataFrame, per_purchase: int, window_days: int) -> Counter[tuple[int, int, int]]:
    bought = impressions[impressions.label == 1]
    events = sorted(set(zip(bought.user_id, bought.timestamp, bought.item_id, strict=True)))
    pairs: Counter[tuple[int, int, int]] = Counter()
    for user, time, item in events:
        earlier = [
            (then, query)
            for who, then, query in events
            if who == user and query != item and time - window_days * DAY <= then < time
        ]
        pairs.update((user, query, item) for _, query in earlier[-per_purchase:])
    return pairs


def impressions_of(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    items = random.integers(0, 12, rows)
    return pd.DataFrame(
        {
            "user_id": random.integers(0, 5, rows),
            "item_id": items,
            "category": [f"c{item % 3}" for item in items],
            "timestamp": random.integers(0, 60, rows) * DAY,
            "label": (random.random(rows) < 0.6).astype(int),
        }
    )


@pytest.mark.parametrize(("per_purchase", "window_days"), [(1, 30), (3, 7), (5, 1000), (1000, 20)])
def test_mined_pairs_equal_a_brute_force(tabled: Tabled, per_purchase: int, window_days: int) -> None:
    impressions = impressions_of(400, per_purchase)
    found = mine(tabled, impressions, per_purchase, window_days)
    expected = brute_force(impressions, per_purchase, window_days)
    assert Counter((row["user_id"], row["query"] - 50, row["item_id"]) for row in found) == expected
    assert all(row["category"] == f"c{row['item_id'] % 3}" for row in found)
    assert len({row["key"] for row in found}) == len(found) > 50


def test_an_item_bought_again_and_again_does_not_hide_an_earlier_one(tabled: Tabled) -> None:
    # Item 3 every day, item 7 long before: the latest purchase of another item is still found.
    days = [(0, 7)] + [(day, 3) for day in range(1, 40)]
    impressions = pd.DataFrame(
        [(1, item, f"c{item % 3}", day * DAY, 1) for day, item in days],
        columns=["user_id", "item_id", "category", "timestamp", "label"],
    )
    found = mine(tabled, impressions, 2, 1000)
    assert Counter((row["query"] - 50, row["item_id"]) for row in found) == {(7, 3): 39}


def test_the_window_holds_its_first_second_and_not_the_purchase_own(tabled: Tabled) -> None:
    rows = [(0, 1), (1, 2), (10 * DAY, 3), (10 * DAY, 4)]
    impressions = pd.DataFrame(
        [(1, item, "c", time, 1) for time, item in rows],
        columns=["user_id", "item_id", "category", "timestamp", "label"],
    )
    found = mine(tabled, impressions, 9, 10)
    assert {(row["query"] - 50, row["item_id"]) for row in found} == {(1, 2), (1, 3), (2, 3), (1, 4), (2, 4)}


def test_logged_pairs_keep_their_row_and_get_the_category(tabled: Tabled) -> None:
    log = tabled(pd.DataFrame({"__row": [4, 6], "item_id": [11, 0]}))
    rows = logged_pairs(log, tabled(ITEMS)).order_by("query").to_pyarrow().to_pylist()
    assert rows == [
        {"item_id": 11, "category": "c2", "key": "4", "query": 4, "query_item_id": -1},
        {"item_id": 0, "category": "c0", "key": "6", "query": 6, "query_item_id": -1},
    ]


def test_the_expression_compiles_for_spark() -> None:
    impressions = ibis.table(
        {"user_id": "int64", "item_id": "int64", "category": "string", "timestamp": "int64", "label": "int64"},
        name="log",
    )
    items = ibis.table({"__row": "int64", "item_id": "int64", "category": "string"}, name="items")
    pairs = mined_pairs(purchases_of(impressions), items, per_purchase=3, window_days=30)
    assert "EXPLODE(" in PySparkCompiler().to_sqlglot(pairs).sql("spark")
