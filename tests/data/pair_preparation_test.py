"""Preparation of interest pairs, logged and mined, against pandas: what they hold, what users chose, and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mim_tf.data.catalogue import Catalogue
from mim_tf.data.preparation import prepare
from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import PAIRS, VALIDATION_PAIRS, RecordSchema
from mim_tf.data.records import read_impressions
from mim_tf.errors import DataError
from tests.data.conftest import VALIDATION_FROM, picture


def pairs_of(folder: Path, name: str = PAIRS) -> list[dict[str, Any]]:
    files = RecordFiles.open(folder, [name], context=None, verify=True)
    return list(tf.data.TFRecordDataset(files.paths).map(RecordParser(files.schema, name).one).as_numpy_iterator())


def item_of(catalogue: Catalogue, row: int) -> int:
    """The id of the item in a row of the catalogue."""
    (example,) = catalogue.examples(np.array([row]))
    return int(tf.train.Example.FromString(example).features.feature["item_id"].int64_list.value[0])


def chosen_of(folder: Path, pair: dict[str, Any]) -> set[int]:
    """The ids that a pair says its user chose."""
    rows = np.frombuffer(pair["chosen_rows"], "<i8")
    assert (np.diff(rows) > 0).all()
    return {item_of(Catalogue(folder), row) for row in rows}


def test_every_item_is_in_the_catalogue_once(shop: Any) -> None:
    settings = shop.settings(held_out=0.3)
    prepare(**settings)
    catalogue = Catalogue.open(settings["folder"])
    assert catalogue.categories == ["bag", "hat", "shoe"]
    category = shop.items.set_index("item_id").category
    rows = [item_of(catalogue, row) for row in range(len(catalogue))]
    assert sorted(rows) == shop.items.item_id.to_list()
    numbers = catalogue.category_of(np.arange(12))
    assert [catalogue.categories[number] for number in numbers] == list(category[rows])
    assert list(numbers) == [0] * 4 + [1] * 4 + [2] * 4


def expected_pairs(shop: Any, choices: pd.DataFrame, *, validation: bool = False) -> list[tuple[int, int]]:
    """By hand: query and item, of at most two queries per choice and fifteen days, for validation one."""
    events = choices[["user_id", "timestamp", "item_id"]].drop_duplicates().sort_values(["timestamp", "item_id"])
    pairs: list[tuple[int, int]] = []
    for event in events.itertuples():
        if validation != (event.timestamp >= VALIDATION_FROM):
            continue
        mine = events[(events.user_id == event.user_id) & (events.item_id != event.item_id)]
        end = event.timestamp - validation
        mine = mine[(mine.timestamp <= end) & (mine.timestamp >= event.timestamp - 15 * 86_400)]
        pairs += [(query, event.item_id) for query in mine.item_id.tail(1 if validation else 2)]
    return sorted(pairs)


def queries_and_items(shop: Any, pairs: list[dict[str, Any]]) -> list[tuple[int, int]]:
    items = shop.items.set_index("item_id")
    for pair in pairs:
        assert pair["query_image"] == items.image[pair["query_item_id"]]
        assert pair["image"] == items.image[pair["item_id"]]
        assert pair["title"].decode() == items.title[pair["item_id"]]
    return sorted((int(pair["query_item_id"]), int(pair["item_id"])) for pair in pairs)


def test_mined_pairs_carry_images_titles_and_what_the_user_chose(shop: Any) -> None:
    settings = shop.settings(pairs_per_purchase=2, pairs_window_days=15)
    metrics = prepare(**settings)
    chosen = shop.impressions[shop.impressions.label == 1]
    training = chosen[chosen.timestamp < VALIDATION_FROM]
    found = pairs_of(settings["folder"])
    expected = expected_pairs(shop, training)
    assert queries_and_items(shop, found) == expected
    assert metrics["pairs"] == len(expected) > 10
    catalogue = Catalogue.open(settings["folder"])
    category = shop.items.set_index("item_id").category
    of_users = [set(items) for _, items in training.groupby("user_id").item_id]
    fallbacks = 0
    for pair in found:
        assert item_of(catalogue, pair["item_row"]) == pair["item_id"]
        chosen_items = chosen_of(settings["folder"], pair)
        assert chosen_items in of_users
        assert {pair["item_id"], pair["query_item_id"]} <= chosen_items
        of_category = set(category.index[category == category[pair["item_id"]]])
        fallbacks += not of_category - chosen_items
    assert metrics["pairs_hard_negative_fallback"] == fallbacks > 0


def test_later_choices_make_pairs_to_validate_with(shop: Any) -> None:
    settings = shop.settings(pairs_per_purchase=2, pairs_window_days=15)
    metrics = prepare(**settings)
    found = pairs_of(settings["folder"], VALIDATION_PAIRS)
    expected = expected_pairs(shop, shop.impressions[shop.impressions.label == 1], validation=True)
    assert queries_and_items(shop, found) == expected
    assert metrics["pairs_validation"] == len(expected) > 5
    assert {pair["chosen_rows"] for pair in found} == {b""}


def test_mined_pairs_are_of_one_action_and_one_category_if_asked(shop: Any) -> None:
    shop.impressions["action"] = ["click", "purchase"] * 100
    settings = shop.settings(pairs_per_purchase=2, pairs_window_days=15, pairs_action="click")
    prepare(**settings)
    chosen = shop.impressions[shop.impressions.label == 1]
    training = chosen[chosen.timestamp < VALIDATION_FROM]
    found = pairs_of(settings["folder"])
    assert queries_and_items(shop, found) == expected_pairs(shop, training[training.action == "click"])
    # What a user purchased is no negative of a click either.
    assert {frozenset(chosen_of(settings["folder"], pair)) for pair in found} <= {
        frozenset(items) for _, items in training.groupby("user_id").item_id
    }
    prepare(**settings | {"pairs_rule": "same_category", "pairs_window_days": 90, "folder": shop.folder / "same"})
    category = shop.items.set_index("item_id").category
    same = queries_and_items(shop, pairs_of(shop.folder / "same"))
    assert len(same) > 5
    assert all(category[query] == category[item] for query, item in same)


def search_log(shop: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query_image": shop.items.image[::-1].to_list(),
            "item_id": shop.items.item_id,
            "action": ["click", "purchase"] * 6,
            "timestamp": [VALIDATION_FROM - 6 + number for number in range(12)],
        }
    )


@pytest.mark.parametrize(("action", "items"), [("purchase", {101, 103, 105}), ("click", {100, 102, 104})])
def test_a_search_log_gives_the_pairs_of_one_action_before_validation(shop: Any, action: str, items: set[int]) -> None:
    log = search_log(shop)
    settings = shop.settings(pairs=shop.write("pairs.parquet", log), pairs_action=action)
    metrics = prepare(**settings)
    found = {pair["item_id"]: pair for pair in pairs_of(settings["folder"])}
    assert set(found) == items
    for item, pair in found.items():
        assert (pair["query_image"], pair["query_item_id"]) == (log.query_image[item - 100], -1)
        assert item_of(Catalogue(settings["folder"]), pair["item_row"]) == item
        assert pair["chosen_rows"] == b""
    later = pairs_of(settings["folder"], VALIDATION_PAIRS)
    assert {pair["item_id"] for pair in later} == {item + 6 for item in items}
    assert (metrics["pairs"], metrics["pairs_validation"], metrics["pairs_left_out"]) == (3, 3, 6)
    assert metrics["pairs_rejected"] == metrics["pairs_hard_negative_fallback"] == 0


def test_without_impressions_items_and_pairs_are_made(shop: Any) -> None:
    log = search_log(shop).drop(columns="timestamp")
    settings = shop.settings(pairs=shop.write("pairs.parquet", log), impressions=None, validation_from=None)
    metrics = prepare(**settings)
    assert (metrics["items"], metrics["pairs"]) == (12, 6)
    schema = RecordSchema.load(str(settings["folder"]))
    assert sorted(schema.shards) == ["items/held_out", "items/train", "pairs/train", "pairs/validation"]
    assert schema.user_id is None
    assert len(pairs_of(settings["folder"])) == 6
    with pytest.raises(DataError, match="must hold impressions/train records"):
        read_impressions(settings["folder"], "train")


def test_what_a_searcher_chose_anywhere_is_known(shop: Any) -> None:
    log = search_log(shop)
    log["user_id"] = [1, 1, 1, 2, 2, pd.NA] * 2
    settings = shop.settings(pairs=shop.write("pairs.parquet", log.astype({"user_id": "Int64"})))
    prepare(**settings)
    training = shop.impressions[(shop.impressions.label == 1) & (shop.impressions.timestamp < VALIDATION_FROM)]
    found = {pair["item_id"]: chosen_of(settings["folder"], pair) for pair in pairs_of(settings["folder"])}
    # The log's own are clicks and purchases before validation: 100 to 102 by user 1, 103 and 104 by user 2; 105 is by
    # nobody known.
    own = {101: {100, 101, 102}, 103: {103, 104}, 105: set()}
    assert found == {
        101: own[101] | {*training.item_id[training.user_id == 1]},
        103: own[103] | {*training.item_id[training.user_id == 2]},
        105: own[105],
    }
    prepare(**settings | {"impressions": None, "folder": shop.folder / "alone"})
    found = {pair["item_id"]: chosen_of(shop.folder / "alone", pair) for pair in pairs_of(shop.folder / "alone")}
    assert found == own


@pytest.mark.parametrize("mined", [False, True])
def test_a_second_search_log_validates_alone(shop: Any, mined: bool) -> None:
    second = search_log(shop).drop(columns="timestamp")
    second["query_image"] = [picture(100 + number) for number in range(len(second))]
    second.loc[3, "item_id"] = 999
    settings = shop.settings(validation_pairs=shop.write("second.parquet", second))
    if not mined:
        settings["pairs"] = shop.write("pairs.parquet", search_log(shop))
    metrics = prepare(**settings)
    found = pairs_of(settings["folder"], VALIDATION_PAIRS)
    assert sorted(pair["item_id"] for pair in found) == [101, 105, 107, 109, 111]
    assert metrics["pairs_validation"] == 5
    assert (metrics["validation_pairs_rejected"], metrics["validation_pairs_left_out"]) == (1, 6)
    if not mined:
        assert (metrics["pairs"], metrics["pairs_left_out"]) == (3, 9)
        # Each log has its own pictures; both number their rows from 0.
        for name, log in ((PAIRS, search_log(shop)), (VALIDATION_PAIRS, second)):
            known = set(zip(log.query_image, log.item_id, strict=True))
            pairs = pairs_of(settings["folder"], name)
            assert {(pair["query_image"], pair["item_id"]) for pair in pairs} <= known
            assert len(pairs) == metrics["pairs" if name == PAIRS else "pairs_validation"]


def test_there_may_be_no_pairs_to_validate_with(shop: Any) -> None:
    log = search_log(shop)
    log["timestamp"] = VALIDATION_FROM - 1
    settings = shop.settings(pairs=shop.write("pairs.parquet", log))
    metrics = prepare(**settings)
    schema = RecordSchema.load(settings["folder"])
    assert schema.counts[VALIDATION_PAIRS] == metrics["pairs_validation"] == 0
    assert schema.shards[VALIDATION_PAIRS] == []
    with pytest.raises(DataError, match=r"must hold pairs/validation records: set `data\.validation_pairs` or "):
        pairs_of(settings["folder"], VALIDATION_PAIRS)


def test_a_category_of_one_item_falls_back_and_is_counted(shop: Any) -> None:
    shop.items.loc[1, "category"] = "zebra"
    log = search_log(shop).assign(item_id=[101, 101, 103, 103] * 3)
    settings = shop.settings(pairs=shop.write("pairs.parquet", log), impressions=None, validation_from=None)
    metrics = prepare(**settings)
    assert (metrics["pairs"], metrics["pairs_hard_negative_fallback"]) == (6, 3)
    rows = np.array([pair["item_row"] for pair in pairs_of(settings["folder"]) if pair["item_id"] == 101] * 50)
    catalogue = Catalogue.open(settings["folder"])
    negatives, fallback = catalogue.negatives(rows, [b""] * len(rows), np.random.default_rng(0))
    assert fallback.all()
    assert {catalogue.categories[number] for number in catalogue.category_of(negatives)} == {"shoe"}
    # With broader categories its neighbours are others than those beside it by name.
    shop.items["aisle"] = ["front" if category in ("bag", "zebra") else "back" for category in shop.items.category]
    settings |= {"items": shop.write("items.parquet", shop.items), "folder": shop.folder / "aisles"}
    assert prepare(**settings, neighbours="aisle")["pairs_hard_negative_fallback"] == 3
    catalogue = Catalogue.open(shop.folder / "aisles")
    rows = np.array([pair["item_row"] for pair in pairs_of(shop.folder / "aisles") if pair["item_id"] == 101] * 50)
    negatives, _ = catalogue.negatives(rows, [b""] * len(rows), np.random.default_rng(0))
    assert {catalogue.categories[number] for number in catalogue.category_of(negatives)} == {"bag"}


def test_a_column_of_neighbours_that_is_not_there_is_refused(shop: Any) -> None:
    with pytest.raises(DataError, match=r"`data\.items` .*column `aisle` must be there"):
        prepare(**shop.settings(neighbours="aisle"))


def test_no_pair_to_mine_is_refused_with_the_time_range(shop: Any) -> None:
    shop.impressions = shop.impressions[~shop.impressions.duplicated("user_id")].assign(timestamp=[0, 1, 2, 3, 4, 99])
    shop.impressions["label"] = 1
    shop.impressions = pd.concat([shop.impressions, shop.impressions.assign(label=0)])
    with pytest.raises(DataError, match=r"`data\.pairs_window_days` .* Received: 30 days, .* from 0 "):
        prepare(**shop.settings(validation_from=50))


def test_no_pair_in_the_log_is_refused_with_the_time_range(shop: Any) -> None:
    log = shop.write("pairs.parquet", search_log(shop).assign(action="click"))
    with pytest.raises(DataError, match=r"`data\.pairs` must hold rows with the action purchase .* the actions click"):
        prepare(**shop.settings(pairs=log))
    log = shop.write("pairs.parquet", search_log(shop).assign(timestamp=VALIDATION_FROM))
    with pytest.raises(DataError, match=r"before `data\.validation_from`, 6912000 .* timestamps from 6912000"):
        prepare(**shop.settings(pairs=log, folder=shop.folder / "later"))


def test_one_item_is_too_few_for_a_negative(shop: Any) -> None:
    log = shop.write("pairs.parquet", search_log(shop)[1:2])
    shop.items = shop.items[1:2]
    with pytest.raises(DataError, match=r"`data\.items` must hold at least two items, or no pair has a negative"):
        prepare(**shop.settings(pairs=log, impressions=None))


def test_a_search_log_without_times_is_refused_beside_impressions(shop: Any) -> None:
    pairs = search_log(shop).drop(columns="timestamp")
    with pytest.raises(DataError, match=r"`data\.pairs` must have the column timestamp where `data\.validation"):
        prepare(**shop.settings(pairs=shop.write("pairs.parquet", pairs)))
