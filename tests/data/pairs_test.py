"""Interest pairs: mined ones against a brute force, logged ones by hand."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data.pairs import choices_of, chosen_rows, logged_pairs, mined_pairs, next_choice_pairs

DAY = 86_400
ITEMS = pd.DataFrame({"__row": range(50, 62), "item_id": range(12), "category": [f"c{item % 3}" for item in range(12)]})
COLUMNS = ["user_id", "item_id", "category", "timestamp", "label"]
Tabled = Callable[[pd.DataFrame], Any]
Found = list[dict[str, Any]]


def mine(tabled: Tabled, impressions: pd.DataFrame, per_purchase: int, window_days: int, **rule: Any) -> Found:
    choices = choices_of(tabled(impressions))
    pairs = mined_pairs(choices, tabled(ITEMS), per_purchase=per_purchase, window_days=window_days, **rule)
    rows: Found = pairs.to_pyarrow().to_pylist()
    return rows


def counted(rows: Found) -> Counter[tuple[int, int, int]]:
    assert len({row["key"] for row in rows}) == len(rows)
    assert all(row["query"] == row["query_item_id"] + 50 for row in rows)
    return Counter((row["user_id"], row["query_item_id"], row["item_id"]) for row in rows)


def choices_in_order(impressions: pd.DataFrame) -> list[tuple[int, int, int]]:
    chosen = impressions[impressions.label == 1]
    return sorted(set(zip(chosen.user_id, chosen.timestamp, chosen.item_id, strict=True)))


def brute_force(
    impressions: pd.DataFrame, per_purchase: int, window_days: int, rule: str
) -> Counter[tuple[int, int, int]]:
    events = choices_in_order(impressions)
    pairs: Counter[tuple[int, int, int]] = Counter()
    for user, time, item in events:
        before = [
            query
            for who, then, query in events
            if who == user and query != item and time - window_days * DAY <= then <= time
            if rule == "co_purchase" or query % 3 == item % 3
        ]
        pairs.update((user, query, item) for query in before[-per_purchase:])
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


def of_user(*rows: tuple[int, int]) -> pd.DataFrame:
    """What user 1 chose: time, item."""
    return pd.DataFrame([(1, item, f"c{item % 3}", time, 1) for time, item in rows], columns=COLUMNS)


@pytest.mark.parametrize("rule", ["co_purchase", "same_category"])
@pytest.mark.parametrize(("per_purchase", "window_days"), [(1, 30), (3, 7), (5, 1000), (1000, 20)])
def test_mined_pairs_equal_a_brute_force(tabled: Tabled, per_purchase: int, window_days: int, rule: str) -> None:
    impressions = impressions_of(400, per_purchase)
    found = counted(mine(tabled, impressions, per_purchase, window_days, rule=rule))
    assert found == brute_force(impressions, per_purchase, window_days, rule)
    assert found.total() > 50


@pytest.mark.parametrize("window_days", [3, 1000])
def test_validation_pairs_equal_a_brute_force(tabled: Tabled, window_days: int) -> None:
    impressions, since = impressions_of(400, 0), 40 * DAY
    pairs = next_choice_pairs(choices_of(tabled(impressions)), tabled(ITEMS), since=since, window_days=window_days)
    events = choices_in_order(impressions)
    expected: Counter[tuple[int, int, int]] = Counter()
    for user, time, item in events:
        before = [
            query
            for who, then, query in events
            if who == user and query != item and time - window_days * DAY <= then < time
        ]
        if time >= since and before:
            expected[user, before[-1], item] += 1
    assert counted(pairs.to_pyarrow().to_pylist()) == expected
    later_choices = sum(time >= since for _, time, _ in events)
    assert 10 < expected.total() <= later_choices


def test_an_item_bought_again_and_again_does_not_hide_an_earlier_one(tabled: Tabled) -> None:
    # Item 3 every day, item 6 long before: the latest choice of another item is still found.
    impressions = of_user((0, 6), *((day * DAY, 3) for day in range(1, 40)))
    for rule in ("co_purchase", "same_category"):
        assert counted(mine(tabled, impressions, 2, 1000, rule=rule)) == {(1, 6, 3): 39}


def test_the_window_holds_its_first_second_and_the_choice_own(tabled: Tabled) -> None:
    impressions = of_user((0, 1), (1, 2), (10 * DAY, 3), (10 * DAY, 4))
    found = mine(tabled, impressions, 9, 10)
    assert set(counted(found)) == {(1, 1, 2), (1, 1, 3), (1, 2, 3), (1, 4, 3), (1, 1, 4), (1, 2, 4), (1, 3, 4)}


def test_of_a_basket_the_larger_ids_are_the_latest(tabled: Tabled) -> None:
    impressions = of_user((0, 9), (5, 2), (5, 4), (5, 7))
    assert set(counted(mine(tabled, impressions, 1, 10))) == {(1, 7, 2), (1, 7, 4), (1, 4, 7)}
    later = next_choice_pairs(choices_of(tabled(impressions)), tabled(ITEMS), since=5, window_days=10)
    assert set(counted(later.to_pyarrow().to_pylist())) == {(1, 9, 2), (1, 9, 4), (1, 9, 7)}


def test_choices_are_of_the_action_if_it_is_told(tabled: Tabled) -> None:
    told = of_user((0, 1), (0, 1), (1, 2), (2, 3), (3, 4)).assign(label=[1, 1, 1, 1, 0])
    told["action"] = ["click", "click", "purchase", "click", "click"]

    def items_of(frame: pd.DataFrame, action: str | None) -> list[int]:
        return sorted(choices_of(tabled(frame), action).to_pyarrow()["item_id"].to_pylist())

    assert items_of(told, "click") == [1, 3]
    assert items_of(told, "purchase") == [2]
    assert items_of(told, None) == items_of(told.drop(columns="action"), "click") == [1, 2, 3]


def test_logged_pairs_keep_their_row_and_their_user(tabled: Tabled) -> None:
    log = pd.DataFrame({"__row": [4, 6], "user_id": [8, 9], "item_id": [11, 0]})
    rows = logged_pairs(tabled(log)).order_by("query").to_pyarrow().to_pylist()
    expected = [
        {"user_id": 8, "item_id": 11, "key": "4", "query": 4, "query_item_id": -1},
        {"user_id": 9, "item_id": 0, "key": "6", "query": 6, "query_item_id": -1},
    ]
    assert rows == expected
    (first, _) = logged_pairs(tabled(log.drop(columns="user_id"))).order_by("query").to_pyarrow().to_pylist()
    assert first == {name: value for name, value in expected[0].items() if name != "user_id"}


def test_the_rows_that_a_user_chose_ascend_and_come_once(tabled: Tabled) -> None:
    items = tabled(pd.DataFrame({"item_id": [5, 6, 7], "item_row": [2, 0, 1]}))
    choices = tabled(pd.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [5, 6, 5, 7]}))
    rows = chosen_rows(choices, items).order_by("user_id").to_pyarrow().to_pylist()
    assert rows == [{"user_id": 1, "chosen_rows": [0, 2]}, {"user_id": 2, "chosen_rows": [1]}]


@pytest.mark.parametrize("rule", ["co_purchase", "same_category"])
def test_the_expressions_compile_for_spark(rule: Any) -> None:
    kinds = {"user_id": "int64", "item_id": "int64", "category": "string", "timestamp": "int64", "label": "int64"}
    choices = choices_of(ibis.table(kinds, name="log"))
    items = ibis.table({"__row": "int64", "item_id": "int64", "item_row": "int64"}, name="items")
    for pairs in (
        mined_pairs(choices, items, rule=rule, per_purchase=3, window_days=30),
        next_choice_pairs(choices, items, since=7, window_days=30),
    ):
        assert "EXPLODE(" in PySparkCompiler().to_sqlglot(pairs).sql("spark")
    assert "COLLECT_LIST(" in PySparkCompiler().to_sqlglot(chosen_rows(choices, items)).sql("spark")
