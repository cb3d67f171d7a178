"""Preparation as a whole: splits, histories and pairs against pandas, the same bytes twice, and its refusals."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tensorflow as tf

from mim_tf.data.preparation import prepare
from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_impressions, read_items
from mim_tf.data.session_batches import rows_in
from mim_tf.errors import DataError

VALIDATION_FROM = 80 * 86_400


def impressions_of(folder: Path, split: str) -> list[tuple[Any, ...]]:
    rows = read_impressions(folder, split).as_numpy_iterator()
    return [(row["user_id"], row["item_id"], row["timestamp"], row["label"]) for row in rows]


def test_the_split_is_by_time_and_loses_no_row(shop: Any) -> None:
    settings = shop.settings()
    metrics = prepare(**settings)
    for split, expected in (
        ("train", shop.impressions[shop.impressions.timestamp < VALIDATION_FROM]),
        ("validation", shop.impressions[shop.impressions.timestamp >= VALIDATION_FROM]),
    ):
        rows = impressions_of(settings["folder"], split)
        assert sorted(rows) == sorted(expected.itertuples(index=False, name=None))
        assert metrics[f"impressions_{split}"] == len(expected)
    assert "rejected_unknown_item" not in metrics


def test_the_first_second_of_validation_validates(shop: Any) -> None:
    shop.impressions.loc[0, "timestamp"] = VALIDATION_FROM
    shop.impressions.loc[1, "timestamp"] = VALIDATION_FROM - 1
    settings = shop.settings()
    prepare(**settings)
    assert VALIDATION_FROM in {row[2] for row in impressions_of(settings["folder"], "validation")}
    assert max(row[2] for row in impressions_of(settings["folder"], "train")) == VALIDATION_FROM - 1


@pytest.mark.parametrize("ids", ["int64", "string"])
def test_histories_in_the_records_equal_pandas(shop: Any, ids: str) -> None:
    if ids == "string":
        shop.items = shop.items.astype({"item_id": str})
        shop.impressions = shop.impressions.astype({"item_id": str, "user_id": str})
    settings = shop.settings()
    metrics = prepare(**settings)
    category = dict(zip(shop.items.item_id, shop.items.category, strict=True))
    bought = shop.impressions[shop.impressions.label == 1].sort_values(["timestamp", "item_id"])

    def plain(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else int(value)

    empty = {"train": 0, "validation": 0}
    for split in empty:
        for row in read_impressions(settings["folder"], split).as_numpy_iterator():
            past = bought[(bought.user_id == plain(row["user_id"])) & (bought.timestamp < row["timestamp"])].tail(3)
            gap = 3 - len(past)
            empty[split] += gap == 3
            pad = "" if ids == "string" else -1
            assert [plain(item) for item in row["history_item_id"]] == [*past.item_id, *[pad] * gap]
            assert list(row["history_timestamp"]) == [*past.timestamp, *[0] * gap]
            assert [plain(c) for c in row["history_category"]] == [*past.item_id.map(category), *[""] * gap]
            assert plain(row["category"]) == category[plain(row["item_id"])]
        assert metrics[f"empty_history_share_{split}"] == empty[split] / metrics[f"impressions_{split}"]
    schema = RecordSchema.load(str(settings["folder"]))
    assert (schema.item_id, schema.user_id, schema.history_length) == (ids, ids, 3)


def test_items_are_self_contained(shop: Any) -> None:
    shop.items["brand"] = "Acme"
    settings = shop.settings(title_columns=("title", "brand"))
    metrics = prepare(**settings)
    rows = {row["item_id"]: row for row in read_items(settings["folder"]).as_numpy_iterator()}
    for item in shop.items.itertuples():
        found = rows.pop(item.item_id)
        assert found["image"] == item.image
        assert found["title"].decode() == f"{item.title}. Acme"
        assert found["category"].decode() == item.category
    assert not rows
    assert metrics["items"] == 12


def ids_of(folder: Path, split: str | None) -> list[int]:
    return [int(row["item_id"]) for row in read_items(folder, split).as_numpy_iterator()]


def held_out_by_md5(ids: list[int], share: float) -> set[int]:
    digests = {item: hashlib.md5(f"held_out:{item}".encode(), usedforsecurity=False).hexdigest() for item in ids}
    return {item for item, digest in digests.items() if int(digest[:8], 16) / 2**32 < share}


def test_every_item_is_in_one_split_by_the_md5_of_its_id(shop: Any) -> None:
    settings = shop.settings(held_out=0.3)
    metrics = prepare(**settings)
    train, held_out = ids_of(settings["folder"], "train"), ids_of(settings["folder"], "held_out")
    assert sorted(train + held_out) == shop.items.item_id.to_list()
    assert set(held_out) == held_out_by_md5(shop.items.item_id.to_list(), 0.3)
    assert sorted(ids_of(settings["folder"], None)) == sorted(train + held_out)
    assert (metrics["items"], metrics["items_held_out"]) == (12, len(held_out))
    counts = RecordSchema.load(str(settings["folder"])).counts
    assert (counts["items/train"], counts["items/held_out"]) == (len(train), len(held_out))
    assert min(counts.values()) > 0


def test_no_item_changes_sides_as_the_catalogue_grows(shop: Any) -> None:
    small = shop.settings(held_out=0.3)
    prepare(**small)
    more = shop.items.assign(item_id=shop.items.item_id + 100)
    shop.items = pd.concat([more[:6], shop.items, more[6:]], ignore_index=True)
    grown = shop.settings(held_out=0.3, seed=5, folder=shop.folder / "grown")
    prepare(**grown)
    for split in ("train", "held_out"):
        before, after = set(ids_of(small["folder"], split)), set(ids_of(grown["folder"], split))
        assert before < after
        assert all(item >= 200 for item in after - before)


def test_without_held_out_items_all_train(shop: Any) -> None:
    settings = shop.settings(held_out=0.0)
    metrics = prepare(**settings)
    assert sorted(ids_of(settings["folder"], "train")) == shop.items.item_id.to_list()
    assert metrics["items_held_out"] == RecordSchema.load(str(settings["folder"])).counts["items/held_out"] == 0
    assert not list(settings["folder"].glob("items/held_out*"))
    with pytest.raises(DataError, match=r"must hold items/held_out records: set `data\.held_out` and prepare again"):
        read_items(settings["folder"], "held_out")


def test_a_split_must_leave_items_to_train_on(shop: Any) -> None:
    with pytest.raises(
        DataError, match=r"`data\.held_out` must leave items to train on\. Received: 0\.9999, of 12 items"
    ):
        prepare(**shop.settings(held_out=0.9999))
    for share in (-0.1, 1.0):
        with pytest.raises(DataError, match=r"`data\.held_out` must be at least 0 and less than 1\. Received: "):
            prepare(**shop.settings(held_out=share))


def test_without_any_log_items_are_made(shop: Any) -> None:
    settings = shop.settings(impressions=None, validation_from=None)
    prepare(**settings)
    assert sorted(RecordSchema.load(str(settings["folder"])).shards) == ["items/held_out", "items/train"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_other_formats_give_the_same_records(shop: Any, ending: str) -> None:
    images = shop.folder / "images"
    images.mkdir()
    for item in shop.items.itertuples():
        (images / f"{item.item_id}.png").write_bytes(item.image)
    parquet = shop.settings()
    prepare(**parquet)
    items = shop.items.drop(columns="image").assign(image_path=[f"images/{item}.png" for item in shop.items.item_id])
    other = parquet | {
        "items": shop.write(f"items.{ending}", items),
        "impressions": shop.write(f"impressions.{ending}", shop.impressions),
        "folder": shop.folder / ending,
    }
    prepare(**other)
    assert contents(other["folder"]) == contents(parquet["folder"])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "rejects.parquet"
    }


def test_the_same_input_and_seed_give_the_same_bytes(shop: Any) -> None:
    first, second, third = (
        shop.settings(folder=shop.folder / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    for settings in (first, second, third):
        prepare(**settings)
    assert contents(first["folder"]) == contents(second["folder"])
    assert contents(first["folder"]) != contents(third["folder"])
    names = sorted(contents(first["folder"]))
    assert names == [
        "catalogue.arrow",
        "features.json",
        *(
            f"impressions/{split}-0000{shard}-of-00002.tfrecord.gz"
            for split in ("train", "validation")
            for shard in (0, 1)
        ),
        *(f"items/{split}-0000{shard}-of-00002.tfrecord" for split in ("held_out", "train") for shard in (0, 1)),
        *(f"pairs/{split}-0000{shard}-of-00002.tfrecord" for split in ("train", "validation") for shard in (0, 1)),
        "schema.json",
    ], "scratch files are left, or records are missing"


def test_records_lie_in_the_order_of_the_md5_of_user_and_number(shop: Any) -> None:
    """A record per user and split here, of which each has fewer than 128 impressions."""
    settings = shop.settings(shards=1, seed=3)
    prepare(**settings)
    for split in ("train", "validation"):
        users = list(dict.fromkeys(int(row[0]) for row in impressions_of(settings["folder"], split)))
        assert users == sorted(
            users, key=lambda user: hashlib.md5(f"3:{user}:{split}:0".encode(), usedforsecurity=False).hexdigest()
        )
        assert sorted(users) == [1, 2, 3, 4, 5, 6]


def test_progress_is_told(shop: Any) -> None:
    steps: dict[str, tuple[int, int]] = {}
    prepare(**shop.settings(progress=lambda step, done, total: steps.update({step: (done, total)})))
    assert sorted(steps) == [
        *("check images", "write impressions/train", "write impressions/validation"),
        *("write items/held_out", "write items/train", "write pairs/train", "write pairs/validation"),
    ]
    assert all(done == total > 0 for done, total in steps.values())


@pytest.mark.parametrize(("when", "rule"), [(0, "after the first impression"), (10**7, "at or before the last")])
def test_an_empty_split_is_refused_with_the_time_range(shop: Any, when: int, rule: str) -> None:
    shop.impressions.loc[0, "timestamp"] = 0
    shop.impressions.loc[1, "timestamp"] = 99 * 86_400
    span = r"timestamps from 0 \(1970-01-01 00:00:00\) to 8553600 \(1970-04-10 00:00:00\)"
    with pytest.raises(DataError, match=rf"`data\.validation_from` must lie {rule}.* Received: {when} \(.*{span}"):
        prepare(**shop.settings(validation_from=when))


def test_a_folder_that_holds_files_is_refused(shop: Any) -> None:
    settings = shop.settings()
    settings["folder"].mkdir()
    (settings["folder"] / "schema.json").touch()
    with pytest.raises(DataError, match=r"`folder` must be new or empty\. Received: .*records, which holds files\."):
        prepare(**settings)
    assert [path.name for path in settings["folder"].iterdir()] == ["schema.json"]


@pytest.mark.parametrize("name", ["history_length", "pairs_per_purchase", "pairs_window_days", "shards"])
def test_counts_must_be_positive(shop: Any, name: str) -> None:
    with pytest.raises(DataError, match=rf"`data\.{name}` must be at least 1\. Received: 0"):
        prepare(**shop.settings(**{name: 0}))


def test_settings_that_do_not_fit_are_refused(shop: Any) -> None:
    with pytest.raises(DataError, match=r"`data\.validation_from` must be given where there are impressions"):
        prepare(**shop.settings(validation_from=None))
    with pytest.raises(
        DataError, match=r"`data\.pairs_action` must be one of \['click', 'purchase'\]\. Received: 'buy'"
    ):
        prepare(**shop.settings(pairs_action="buy"))
    with pytest.raises(
        DataError, match=r"`data\.pairs_rule` must be one of \['co_purchase', 'same_category'\]\. Received: 'any'"
    ):
        prepare(**shop.settings(pairs_rule="any"))


@pytest.mark.parametrize(("label", "period"), [(0, "training"), (1, "training")])
def test_a_log_of_one_label_is_refused(shop: Any, label: int, period: str) -> None:
    shop.impressions["label"] = label
    with pytest.raises(DataError, match=rf"labels 0 and 1 in the {period} period.*Received: only {label}"):
        prepare(**shop.settings())


def test_a_share_of_the_mined_pairs_is_kept_by_the_md5_of_their_keys(shop: Any) -> None:
    def pairs(share: float) -> Counter[bytes]:
        settings = shop.settings(pairs_share=share, folder=shop.folder / f"share {share}")
        metrics = prepare(**settings)
        found: Counter[bytes] = Counter()
        for file in RecordSchema.load(settings["folder"]).shards.get("pairs/train", []):
            found.update(tf.data.TFRecordDataset(str(settings["folder"] / file.file)).as_numpy_iterator())
        assert metrics.get("pairs", 0) == found.total()
        return found

    everything, half = pairs(1.0), pairs(0.5)
    assert half < everything
    # Of about 120 draws the share's standard deviation is .05.
    assert 0.3 < half.total() / everything.total() < 0.7
    assert not pairs(0.0)
    assert not (shop.folder / "share 0.0" / "pairs").exists()
    with pytest.raises(DataError, match=r"`data\.pairs_share` must be from 0 to 1\. Received: 1\.1"):
        prepare(**shop.settings(pairs_share=1.1))


def test_sessions_are_as_long_as_the_setting_says(shop: Any) -> None:
    def sessions(seconds: int) -> int:
        settings = shop.settings(session_seconds=seconds, folder=shop.folder / str(seconds))
        prepare(**settings)
        return rows_in(RecordSchema.load(settings["folder"]).shards["impressions/train"], 1000)

    log = shop.impressions[shop.impressions.timestamp < VALIDATION_FROM].sort_values(["user_id", "timestamp"])
    # One second: every day is a session of its own, as days are the log's smallest step.
    assert sessions(1) == len(log[["user_id", "timestamp"]].drop_duplicates())
    # All time: only a behaviour parts sessions.
    bought = shop.impressions[shop.impressions.label == 1]
    before = [((bought.user_id == r.user_id) & (bought.timestamp < r.timestamp)).sum() for r in log.itertuples()]
    assert sessions(10**9) == len(log.assign(before=before)[["user_id", "before"]].drop_duplicates())
    with pytest.raises(DataError, match=r"`data\.session_seconds` must be at least 1\. Received: 0"):
        prepare(**shop.settings(session_seconds=0))
