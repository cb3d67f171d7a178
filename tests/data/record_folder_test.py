"""The folder of records does not depend on how many rows the engine holds at once."""

from pathlib import Path
from typing import Any

import pytest

from mim_tf.data import duckdb_workspace
from mim_tf.data.preparation import prepare


def impressions_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "impressions").iterdir()}


@pytest.mark.parametrize("ids", ["int64", "string"])
def test_users_may_be_gathered_part_by_part(shop: Any, ids: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.impressions = shop.impressions.astype({"user_id": str}) if ids == "string" else shop.impressions
    folders = [shop.folder / name for name in ("whole", "parts")]
    prepare(**shop.settings(folder=folders[0]))
    monkeypatch.setattr(duckdb_workspace, "_ROWS_AT_ONCE", 60)  # of 200: four parts of six users
    prepare(**shop.settings(folder=folders[1]))
    assert impressions_in(folders[0]) == impressions_in(folders[1])
    assert len(impressions_in(folders[0])) == 4
