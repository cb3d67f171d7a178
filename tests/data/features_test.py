"""Features by configuration, from the shop's tables to parsed records, against plain pandas."""

import json
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data.feature_statistics import FeatureStatistics
from mim_tf.data.item_features import FIRST_SEEN, with_item_features
from mim_tf.data.preparation import prepare
from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_impressions
from mim_tf.errors import DataError
from tests.data.conftest import VALIDATION_FROM, Shop

ITEM_FEATURES = {"colour": "string", "brand_id": "int64", "price": "float32"}
IMPRESSION_FEATURES = {"hour": "int64", "device": "string", "score": "float32"}
DAY = 86_400


@pytest.fixture
def featured(shop: Shop) -> Shop:
    """The shop with features of every type, some text missing, and two items whose first appearance is not known."""
    random = np.random.default_rng(3)
    shop.items["colour"] = ["rot", None, "blau", "ÿ", "rot", "", "rot", "blau", None, "grün", "rot", "blau"]
    shop.items["brand_id"] = [2**53 + 1, *range(-5, 6)]
    shop.items["price"] = np.round(random.uniform(1, 99, 12), 2)
    shop.items["since"] = pd.array([None, 0, None, *(random.integers(-9, 70, 9) * DAY)], "Int64")
    rows = len(shop.impressions)
    shop.impressions["hour"] = random.integers(0, 24, rows)
    shop.impressions["device"] = random.choice(["phone", "desk", None], rows)
    shop.impressions["score"] = random.permutation(rows) / 64  # exact in every format
    return shop


def settings_of(shop: Shop, **changes: Any) -> dict[str, Any]:
    features = {"item_features": list(ITEM_FEATURES), "impression_features": list(IMPRESSION_FEATURES)}
    return shop.settings(**features, first_seen="since") | changes


def rows_of(folder: Path, split: str, **options: Any) -> list[dict[str, Any]]:
    return list(read_impressions(folder, split, **options).as_numpy_iterator())


def plain(value: Any) -> Any:
    """A value or a list of values as Python's own."""
    if np.ndim(value):
        return [plain(part) for part in value]
    if isinstance(value, bytes | str):
        return value.decode() if isinstance(value, bytes) else value
    return float(value) if isinstance(value, float | np.floating) else int(value)


def as_read(column: pd.Series) -> pd.Series:
    """What records hold of a column."""
    if column.dtype.kind in "iu":
        return column
    return column.astype(np.float32) if column.dtype.kind == "f" else column.astype(object).where(column.notna(), "")


def expected_rows(shop: Shop, length: int) -> dict[float, dict[str, Any]]:
    """The features of each impression by its score, which is never twice the same, joined and looked up row by row."""
    items = shop.items.set_index("item_id")
    features = {name: as_read(items[name]) for name in ITEM_FEATURES}
    log = shop.impressions.assign(**{name: as_read(shop.impressions[name]) for name in IMPRESSION_FEATURES})
    first_impression = log.groupby("item_id").timestamp.min()
    bought = log[log.label == 1].sort_values(["timestamp", "item_id"])
    expected = {}
    for row in log.to_dict("records"):
        item = row["item_id"]
        since = first_impression[item] if pd.isna(items.since[item]) else items.since[item]
        past = bought[(bought.user_id == row["user_id"]) & (bought.timestamp < row["timestamp"])].tail(length).item_id
        fields = {name: row[name] for name in IMPRESSION_FEATURES} | {"item_age": max(0, row["timestamp"] - since)}
        for name, values in features.items():
            padding = [0 if ITEM_FEATURES[name] != "string" else ""] * (length - len(past))
            fields |= {f"item_{name}": values[item], f"history_{name}": [*past.map(values), *padding]}
        expected[plain(row["score"])] = {name: plain(value) for name, value in fields.items()}
    return expected


def check_against_pandas(shop: Shop, folder: Path, length: int = 3) -> None:
    expected = expected_rows(shop, length)
    for split in ("train", "validation"):
        for row in read_impressions(folder, split, history_length=length).as_numpy_iterator():
            fields = expected.pop(plain(row["score"]))
            assert {name: plain(row[name]) for name in fields} == fields
    assert not expected, "rows are missing"


@pytest.mark.parametrize(("ids", "length"), [("int64", 3), ("string", 2)])
def test_features_of_targets_and_behaviours_and_ages_equal_pandas(featured: Shop, ids: str, length: int) -> None:
    if ids == "string":
        featured.items = featured.items.astype({"item_id": str})
        featured.impressions = featured.impressions.astype({"item_id": str, "user_id": str})
    settings = settings_of(featured)
    prepare(**settings)
    check_against_pandas(featured, settings["folder"], length)
    schema = RecordSchema.load(settings["folder"])
    of_items = {f"{prefix}_{name}": kind for name, kind in ITEM_FEATURES.items() for prefix in ("item", "history")}
    assert schema.features == of_items | IMPRESSION_FEATURES | {"item_age": "int64"}
    assert schema.query_dim is None


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_other_formats_give_the_same_features(featured: Shop, ending: str) -> None:
    images = featured.folder / "images"
    images.mkdir()
    for item in featured.items.itertuples():
        (images / f"{item.item_id}.png").write_bytes(item.image)
    items = featured.items.drop(columns="image").assign(image_path=[f"images/{i}.png" for i in featured.items.item_id])
    settings = settings_of(
        featured,
        items=featured.write(f"items.{ending}", items),
        impressions=featured.write(f"impressions.{ending}", featured.impressions),
    )
    prepare(**settings)
    check_against_pandas(featured, settings["folder"])


def test_without_features_records_hold_the_age_since_the_first_impression(shop: Shop) -> None:
    settings = shop.settings()
    prepare(**settings)
    assert RecordSchema.load(settings["folder"]).features == {"item_age": "int64"}
    first = shop.impressions.groupby("item_id").timestamp.min()
    for split in ("train", "validation"):
        for row in read_impressions(settings["folder"], split).as_numpy_iterator():
            assert row["item_age"] == row["timestamp"] - first[row["item_id"]]


def test_columns_may_have_names_that_preparation_knows_otherwise(shop: Shop) -> None:
    names = ["position", "row", "earlier_", "Held_out", "user_id", "title", "name"]
    shop.items = shop.items.assign(
        position=7, row=8, earlier_=9, Held_out=10, user_id=11, item_name="broad", name="own"
    )
    impressions = ["earlier", "position", "first", "key", "again"]
    shop.impressions = shop.impressions.assign(**dict.fromkeys(impressions, 5))
    settings = shop.settings(
        item_features=names, impression_features=impressions, title_columns=("item_name", "category")
    )
    prepare(**settings)
    title = dict(zip(shop.items.item_id, shop.items.title, strict=True))
    own = {"position": 7, "row": 8, "earlier_": 9, "Held_out": 10, "user_id": 11, "name": b"own"}
    for row in read_impressions(settings["folder"], "train").as_numpy_iterator():
        assert {name: row[f"item_{name}"] for name in own} == own
        assert row["item_title"].decode() == title[row["item_id"]], "the column, not the joined title"
        assert {row[name] for name in impressions} == {5}
        bought = row["history_item_id"] != -1
        assert set(row["history_position"][bought]) <= {7}
        assert list(row["history_title"][bought]) == [title[item].encode() for item in row["history_item_id"][bought]]


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(np.float16, "parquet"), (np.float32, "parquet"), (np.float64, "parquet"), (np.float64, "jsonl")],
)
def test_query_embeddings_are_float32_and_zeros_where_there_is_no_query(featured: Shop, kind: Any, ending: str) -> None:
    random = np.random.default_rng(5)
    embeddings = (random.integers(-999, 999, (200, 4)) / 64).astype(kind)
    missing = random.random(200) < 0.3
    lists = [None if gone else list(row) for row, gone in zip(embeddings, missing, strict=True)]
    log = featured.impressions.assign(query_embedding=lists)
    settings = settings_of(featured, impressions=featured.write(f"queries.{ending}", log))
    prepare(**settings)
    assert RecordSchema.load(settings["folder"]).query_dim == 4
    dataset = read_impressions(settings["folder"], "train", batch_size=8)
    assert dataset.element_spec["query_embedding"].shape.as_list() == [None, 4]
    of_row = {plain(np.float32(score)): row for row, score in enumerate(featured.impressions.score)}
    found = 0
    for batch in dataset.as_numpy_iterator():
        for score, embedding in zip(batch["score"], batch["query_embedding"], strict=True):
            row = of_row[plain(score)]
            assert embedding.dtype == np.float32
            np.testing.assert_array_equal(embedding, np.zeros(4) if missing[row] else embeddings[row])
            found += 1
    assert found == (featured.impressions.timestamp < VALIDATION_FROM).sum()


def test_statistics_are_of_the_catalogue_and_of_training_impressions(featured: Shop) -> None:
    settings = settings_of(featured)
    prepare(**settings)
    statistics = FeatureStatistics.load(str(settings["folder"]))
    assert list(statistics.items) == list(ITEM_FEATURES)
    assert list(statistics.impressions) == [*IMPRESSION_FEATURES, "item_age"]
    assert statistics.items["colour"].vocabulary == ("rot", "blau", "grün", "ÿ")
    assert statistics.items["colour"].counts == (4, 3, 1, 1)
    prices = featured.items.price.to_numpy(np.float32).astype(np.float64)
    assert statistics.items["price"].mean == pytest.approx(prices.mean(), rel=1e-12)
    assert statistics.items["brand_id"].vocabulary[-1] == 2**53 + 1, "no int64 went through a float"
    training = featured.impressions[featured.impressions.timestamp < VALIDATION_FROM]
    hours = training.hour.to_numpy()
    assert statistics.impressions["hour"].rows == len(hours) < 200
    assert statistics.impressions["hour"].deviation == pytest.approx(hours.std(), rel=1e-12)
    batches = read_impressions(settings["folder"], "train", batch_size=500).as_numpy_iterator()
    ages = np.concatenate([batch["item_age"] for batch in batches])
    assert statistics.impressions["item_age"].mean == pytest.approx(ages.mean(), rel=1e-12)
    assert statistics.impressions["item_age"].quantiles[500] == np.sort(ages)[len(ages) // 2]


def test_items_alone_have_statistics_too(featured: Shop) -> None:
    settings = featured.settings(impressions=None, validation_from=None, item_features=["colour"])
    prepare(**settings)
    statistics = FeatureStatistics.load(settings["folder"])
    assert (list(statistics.items), statistics.impressions) == (["colour"], {})
    with pytest.raises(DataError, match=r"`data\.impression_features` must be left out .* Received: hour, device\."):
        prepare(**settings | {"impression_features": ["hour", "device"]})


def test_records_of_before_there_were_features_are_still_read(shop: Shop) -> None:
    settings = shop.settings()
    prepare(**settings)
    path = settings["folder"] / "schema.json"
    held = json.loads(path.read_text())
    del held["features"], held["query_dim"]
    path.write_text(json.dumps(held))
    (row,) = read_impressions(settings["folder"], "train").take(1).as_numpy_iterator()
    assert "item_age" not in row
    assert row["history_item_id"].shape == (3,)
    (settings["folder"] / "features.json").unlink()
    with pytest.raises(
        DataError, match=r"`folder` must hold `features\.json`: prepare again, if the records are older"
    ):
        FeatureStatistics.load(settings["folder"])


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"items": {"a": {}}, "impressions": {}}'])
def test_broken_statistics_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "features.json").write_text(content)
    with pytest.raises(DataError, match=r"`features\.json` must be as `prepare` wrote it\. Received: .*features\.json"):
        FeatureStatistics.load(tmp_path)


def test_the_age_compiles_for_spark() -> None:
    impressions = ibis.table({"item_id": "int64", "timestamp": "int64"}, name="impressions")
    features = ibis.table({"item_id": "int64", "item_colour": "string", FIRST_SEEN: "int64"}, name="features")
    sql = PySparkCompiler().to_sqlglot(with_item_features(impressions, features)).sql("spark")
    assert "MIN(" in sql
    assert "OVER" not in sql
    assert "GREATEST(" in sql
