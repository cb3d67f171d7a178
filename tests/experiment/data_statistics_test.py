"""Table 1 against pandas, of logs as they are found."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mim_tf.errors import DataError
from mim_tf.experiment.data_statistics import data_statistics
from mim_tf.settings import DataSettings


def shop(folder: Path, ending: str = "parquet") -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    items = pd.DataFrame({"item_id": np.arange(40), "category": [f"c{number % 9}" for number in range(40)]})
    log = pd.DataFrame(
        {
            "user_id": rng.integers(30, size=500),
            "item_id": rng.integers(45, size=500),  # the last five are not in the catalogue
            "query_text": rng.choice(["hat", "red hat", "mug"], size=500),
        }
    )
    write = {"parquet": pd.DataFrame.to_parquet, "csv": pd.DataFrame.to_csv}[ending]
    for name, table in (("items", items), ("log", log)):
        write(table, folder / f"{name}.{ending}", index=False)
    return items, log


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_the_counts_are_pandas(tmp_path: Path, ending: str) -> None:
    items, log = shop(tmp_path, ending)
    files = {name: str(tmp_path / f"{file}.{ending}") for name, file in (("items", "items"), ("impressions", "log"))}
    sheet = data_statistics(DataSettings(**files))
    known = log.merge(items, on="item_id")
    sizes = known.groupby("category").size().sort_values(ascending=False, kind="stable")
    assert sheet.columns[0] == "ALL"
    assert len(sheet.columns) == 8  # seven of nine categories
    rows = dict(sheet.rows)
    assert rows["#Data"]["ALL"] == 500
    for column, name in (("user_id", "#Users"), ("item_id", "#Items"), ("query_text", "#Query")):
        assert rows[name]["ALL"] == log[column].nunique()
        for category in sheet.columns[1:]:
            assert rows[name][category] == known[known.category == category][column].nunique()
    assert [rows["#Data"][category] for category in sheet.columns[1:]] == sizes.tolist()[:7]


def test_a_log_without_users_and_queries_says_so(tmp_path: Path) -> None:
    shop(tmp_path)
    pd.DataFrame({"item_id": [1, 1, 2]}).to_parquet(tmp_path / "pairs.parquet")
    sheet = data_statistics(DataSettings(items=str(tmp_path / "items.parquet"), pairs=str(tmp_path / "pairs.parquet")))
    assert [name for name, _ in sheet.rows] == ["#Data", "#Items"]
    assert "#Users: the log has no such column." in sheet.notes
    assert sheet.notes[0].startswith("#Data counts the rows of `data.pairs`")


def test_what_cannot_be_counted_is_told(tmp_path: Path) -> None:
    shop(tmp_path)
    items = str(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"`data\.impressions` and `data\.pairs` are not set"):
        data_statistics(DataSettings(items=items))
    pd.DataFrame({"user_id": [1]}).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"must have a column `item_id`\. Received: .*user_id"):
        data_statistics(DataSettings(items=items, impressions=str(tmp_path / "bad.parquet")))
    with pytest.raises(DataError, match=r"`data\.items` .* must have a column `category`"):
        data_statistics(DataSettings(items=str(tmp_path / "log.parquet"), impressions=str(tmp_path / "log.parquet")))
