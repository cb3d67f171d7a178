"""Bad rows: each reason once, with its file, row and key, and never silently."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mim_tf.data.preparation import prepare
from mim_tf.data.rejects import Rejects
from mim_tf.data.sources import open_source
from mim_tf.data.workspace import open_workspace
from mim_tf.errors import DataError
from tests.data.conftest import picture


def rejects(settings: dict[str, Any]) -> list[tuple[str, int, str | None, str]]:
    rows = pq.read_table(Path(settings["folder"]) / "rejects.parquet").to_pylist()
    return [(Path(row["file"]).name, row["row"], row["key"], row["reason"]) for row in rows]


def append(frame: pd.DataFrame, row: int, **changes: Any) -> pd.DataFrame:
    """Add a copy of a row with changes."""
    rows = [frame, frame.iloc[[row]].assign(**changes)]
    return pd.concat([part.astype(object) for part in rows], ignore_index=True)


BAD_ITEMS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"title": ""}, "500", "empty title"),
    ({"title": "  "}, "500", "empty title"),
    ({"title": None}, "500", "empty title"),
    ({"category": None}, "500", "missing category"),
    ({"category": " "}, "500", "missing category"),
    ({"item_id": -1}, "-1", "reserved item_id"),
    ({"item_id": -(2**63)}, str(-(2**63)), "reserved item_id"),
    ({"item_id": -(2**63) + 1}, str(-(2**63) + 1), "reserved item_id"),
    ({"item_id": pd.NA}, None, "missing item_id"),
    ({"image": b"no image"}, "500", "undecodable image"),
    ({"image": picture(0)[:-20]}, "500", "undecodable image"),
    ({"image": None}, "500", "undecodable image"),
    ({"item_id": 103}, "103", "duplicate item_id"),
]


def counts(reasons: list[str]) -> dict[str, float]:
    return {f"rejected_{reason.replace(' ', '_')}": float(count) for reason, count in Counter(reasons).items()}


def test_bad_items_are_rejected(shop: Any) -> None:
    shop.items = shop.items.astype({"item_id": "Int64"})
    for changes, _, _ in BAD_ITEMS:
        shop.items = append(shop.items, 0, **({"item_id": 500} | changes))
    settings = shop.settings()
    metrics = prepare(**settings)
    expected = [("items.parquet", 12 + row, key, reason) for row, (_, key, reason) in enumerate(BAD_ITEMS)]
    assert rejects(settings) == expected
    assert (metrics["items"], metrics["items_rejected"]) == (12, 13)
    reported = {name: value for name, value in metrics.items() if name.startswith("rejected_")}
    assert reported == counts([reason for _, _, reason in BAD_ITEMS])


def test_a_row_that_is_neither_kept_nor_rejected_is_missed(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": [1, 2, 3]}), file)
    with open_workspace(tmp_path) as workspace, Rejects(tmp_path / "rejects.parquet", workspace) as bad:
        source = open_source(workspace, "data.items", str(file))
        bad.check_all_there(source, 3)
        with pytest.raises(DataError, match="of whose 3 rows 2 were kept and 0 rejected"):
            bad.check_all_there(source, 2)


def test_an_empty_string_id_is_reserved(shop: Any) -> None:
    shop.items = append(shop.items.astype({"item_id": str}), 0, item_id="")
    shop.impressions = shop.impressions.astype({"item_id": str})
    settings = shop.settings()
    prepare(**settings)
    assert rejects(settings) == [("items.parquet", 12, "", "reserved item_id")]


def test_of_items_with_one_id_the_first_good_one_stays(shop: Any) -> None:
    shop.items = append(append(shop.items, 3, title="again"), 3, title="once more")
    shop.items.loc[3, "image"] = b"broken"
    settings = shop.settings()
    metrics = prepare(**settings)
    assert rejects(settings) == [
        ("items.parquet", 3, "103", "undecodable image"),
        ("items.parquet", 13, "103", "duplicate item_id"),
    ]
    assert metrics["items"] == 12


BAD_IMPRESSIONS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"item_id": 999}, "999", "unknown item"),
    ({"item_id": pd.NA}, None, "unknown item"),
    ({"user_id": pd.NA}, "100", "missing user_id"),
    ({"timestamp": pd.NA}, "100", "missing timestamp"),
    ({"label": 2}, "100", "label not 0 or 1"),
    ({"label": -1}, "100", "label not 0 or 1"),
    ({"label": pd.NA}, "100", "label not 0 or 1"),
]


def test_bad_impressions_are_rejected(shop: Any) -> None:
    shop.impressions = shop.impressions.astype("Int64")
    for changes, _, _ in BAD_IMPRESSIONS:
        shop.impressions = append(shop.impressions, 0, **({"item_id": 100} | changes))
    settings = shop.settings()
    metrics = prepare(**settings)
    assert rejects(settings) == [
        ("impressions.parquet", 200 + row, key, reason) for row, (_, key, reason) in enumerate(BAD_IMPRESSIONS)
    ]
    assert metrics["impressions_rejected"] == 7
    assert metrics["impressions_train"] + metrics["impressions_validation"] == 200


def test_the_impressions_of_a_rejected_item_are_unknown(shop: Any) -> None:
    shop.items.loc[5, "image"] = b"broken"
    settings = shop.settings()
    metrics = prepare(**settings)
    shown = shop.impressions.index[shop.impressions.item_id == 105]
    assert rejects(settings) == [
        ("items.parquet", 5, "105", "undecodable image"),
        *(("impressions.parquet", row, "105", "unknown item") for row in shown),
    ]
    assert metrics["rejected_unknown_item"] == len(shown) > 0


def test_choices_of_an_unknown_action_are_rejected(shop: Any) -> None:
    shop.impressions["action"] = ["click", "purchase"] * 100
    chosen, shown = (shop.impressions.index[shop.impressions.label == label] for label in (1, 0))
    shop.impressions.loc[chosen[:3], "action"] = ["looked", None, ""]
    shop.impressions.loc[shown[:2], "action"] = ["looked", None]  # what was not chosen needs no action
    settings = shop.settings()
    metrics = prepare(**settings)
    ids = shop.impressions.item_id.astype(str)
    assert rejects(settings) == [("impressions.parquet", row, ids[row], "unknown action") for row in sorted(chosen[:3])]
    assert metrics["impressions_rejected"] == 3


BAD_PAIRS: list[tuple[dict[str, Any], str]] = [
    ({"item_id": 999}, "unknown item"),
    ({"action": "looked"}, "unknown action"),
    ({"action": None}, "unknown action"),
    ({"timestamp": pd.NA}, "missing timestamp"),
    ({"query_image": b"broken"}, "undecodable query image"),
    ({"query_image": None}, "undecodable query image"),
]


def test_bad_pairs_are_rejected(shop: Any) -> None:
    pairs = pd.DataFrame({"query_image": shop.items.image, "item_id": shop.items.item_id, "action": "purchase"})
    pairs["timestamp"] = pd.array([10] * 12, "Int64")
    for changes, _ in BAD_PAIRS:
        pairs = append(pairs, 4, **changes)
    settings = shop.settings(pairs=shop.write("pairs.parquet", pairs))
    metrics = prepare(**settings)
    assert rejects(settings) == [
        ("pairs.parquet", 12 + row, "999" if "item_id" in changes else "104", reason)
        for row, (changes, reason) in enumerate(BAD_PAIRS)
    ]
    assert (metrics["pairs"], metrics["pairs_rejected"], metrics["pairs_left_out"]) == (12, 6, 0)


def test_rows_are_numbered_within_their_file(shop: Any) -> None:
    folder = shop.folder / "log"
    folder.mkdir()
    for part, rows in enumerate((shop.impressions[:120], append(shop.impressions[120:], 0, item_id=999))):
        rows.to_parquet(folder / f"part-{part}.parquet")
    settings = shop.settings(impressions=folder)
    prepare(**settings)
    assert rejects(settings) == [("part-1.parquet", 80, "999", "unknown item")]


def test_image_files_are_read_beside_the_items(shop: Any) -> None:
    images = shop.folder / "images"
    images.mkdir()
    for number, image in enumerate(shop.items.image):
        (images / f"{number}.png").write_bytes(image)
    (shop.folder.parent / "outside.png").write_bytes(shop.items.image[0])
    paths = [f"images/{number}.png" for number in range(12)]
    paths[3], paths[4], paths[5] = "../outside.png", "images/nowhere.png", str(images / "5.png")
    shop.items = shop.items.drop(columns="image").assign(image_path=paths)
    settings = shop.settings(items=shop.write("items.csv", shop.items), impressions=None, validation_from=None)
    metrics = prepare(**settings)
    assert rejects(settings) == [
        ("items.csv", 3, "103", "image path outside the folder"),
        ("items.csv", 4, "104", "unreadable image file"),
        ("items.csv", 5, "105", "image path outside the folder"),
    ]
    assert metrics["items"] == 9


def test_nothing_left_of_a_file_is_an_error_that_counts_the_reasons(shop: Any) -> None:
    items = shop.items
    shop.items = items.assign(image=[b"broken"] * 11 + [None])
    with pytest.raises(DataError, match=r"`data\.items` must hold .* nothing is left \(undecodable image: 12\)"):
        prepare(**shop.settings())
    shop.items, impressions = items, shop.impressions
    shop.impressions = impressions.assign(item_id=1)
    with pytest.raises(DataError, match=r"`data\.impressions` must hold .*\(unknown item: 200\)"):
        prepare(**shop.settings(folder=shop.folder / "unknown"))
    shop.impressions = impressions[:0]
    with pytest.raises(DataError, match=r"`data\.impressions` must hold .*, where .* \(it has no rows\)"):
        prepare(**shop.settings(folder=shop.folder / "empty"))


def test_a_file_that_breaks_off_while_images_are_read_is_named(shop: Any) -> None:
    settings = shop.settings()
    content = bytearray(settings["items"].read_bytes())
    column = pq.ParquetFile(settings["items"]).metadata.row_group(0).column(3)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    settings["items"].write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"`data\.items` must be readable from first row to last"):
        prepare(**settings)
