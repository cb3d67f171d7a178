"""The command on tiny shops: whole tables, what a stopped run keeps, and inputs that some tables cannot be made of."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.training.scoring import Scored
from mim_tf.workdir import StageFolder

pytestmark = pytest.mark.slow
ENV = {name: value for name, value in os.environ.items() if name not in ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL")}
CONFIG: dict[str, Any] = {
    "encoders": {
        "vision": {"name": "vit_toy", "image_size": 32},
        "text": {"name": "bert_toy", "length": 8},
        "dim": 8,
    },
    "pretrain": {"image_text": {"epochs": 1, "batch_size": 20}},
    "csft": {"epochs": 1, "batch_size": 16, "st_nsg": {"queue_batches": 1}},
    "rank": {"ubm": "average", "epochs": 1, "batch_size": 64, "hash_bins": 256, "tower_units": [8]},
    "experiment": {"seeds": 1},
}


class Shop:
    """A folder with a tiny shop, and the command on it."""

    def __init__(self, folder: Path):
        self.folder, self.workdir = folder, folder / "work"
        make_demo_shop(folder / "shop", items=60, users=60, days=20, searches=200)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "shop" / f"{name}.parquet")

    def write(self, name: str, table: pd.DataFrame) -> None:
        table.to_parquet(self.folder / "shop" / f"{name}.parquet", index=False)

    def command(self, *arguments: str, without: tuple[str, ...] = ()) -> list[str]:
        files = ("items", "impressions", "pairs")
        data = {name: str(self.folder / "shop" / f"{name}.parquet") for name in files if name not in without}
        settings = {"data": {**data, "validation_from": "2025-01-17", "history_length": 8, "shards": 2}, **CONFIG}
        config = self.folder / "run.yaml"
        config.write_text(yaml.safe_dump(settings))
        run = ["--config", str(config), "--workdir", str(self.workdir), "--lanes", "2"]
        return [sys.executable, "-m", "mim_tf.experiment", *run, *arguments]

    def run(self, *arguments: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments, without=without)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENV)
        assert done.returncode == 0, done.stderr
        return done

    def rows(self, name: str) -> dict[str, dict[str, str]]:
        with (self.workdir / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
            return {row[""]: row for row in csv.DictReader(file)}

    def notes(self, name: str) -> str:
        return (self.workdir / "tables" / f"{name}.md").read_text(encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_table_whose_run_was_stopped(shop: Shop) -> None:
    """Stopped after the first chain, the same command ends it; and stages that ran late in a process are as alone."""
    arguments = ("--table", "4", "--figure", "6")
    process = subprocess.Popen(
        shop.command(*arguments), env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 300
    while not list((shop.workdir / "stages").glob("csft-*/csft/metrics.json")) and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    finished = {
        path: path.stat().st_mtime
        for path in (shop.workdir / "stages").glob("*/*/metrics.json")
        if not path.parent.is_symlink()
    }
    assert finished
    assert not (shop.workdir / "report.html").exists()

    shop.run(*arguments)
    assert {path: path.stat().st_mtime for path in finished} == finished
    rows = shop.rows("table4")
    assert list(rows) == [
        "Base",
        "v1, CE, category",
        "v2, CE, click",
        "v3, CE, purchase",
        "v4, CL, click",
        "v5, CL, purchase",
    ]
    assert all(0 < float(row["AUC"]) < 1 for row in rows.values())
    assert len({row["AUC"] for row in rows.values()}) == 6
    assert "data:image/svg+xml" in (shop.workdir / "report.html").read_text(encoding="utf-8")
    stages = [path.name.split("-")[0] for path in (shop.workdir / "stages").iterdir()]
    assert {stage: stages.count(stage) for stage in set(stages)} == {
        "prepare": 2,  # purchases, clicks
        "pretrain": 2,  # of which one hands on the other's encoders
        "csft": 5,
        "represent": 5,
        "rank": 5,  # Base is a part of v5
    }
    again_alone(shop)

    assert "s, " not in shop.run(*arguments).stderr  # nothing is computed again


def again_alone(shop: Shop) -> None:
    """The click model that was trained last, trained once more in a process of its own, predicts the same."""
    folders = [path for path in (shop.workdir / "stages").glob("rank-*")]
    last = max(folders, key=lambda path: (path / "rank" / "metrics.json").stat().st_mtime)
    kept = Scored.load(last / "rank" / "validation" / "model-0.parquet")
    (last / "rank").rename(last / "kept")
    run = ["--config", str(last / "run.yaml"), "--workdir", str(last)]
    subprocess.run(
        [sys.executable, "-m", "mim_tf.train", "--stage", "rank", *run], check=True, env=ENV, capture_output=True
    )
    alone = Scored.load(last / "rank" / "validation" / "model-0.parquet")
    np.testing.assert_allclose(alone.probabilities, kept.probabilities, rtol=1e-4)
    assert StageFolder(last, "rank").finished


def test_a_log_without_timestamps(shop: Shop) -> None:
    """Its rows are counted; all that trains on it says why it cannot."""
    shop.write("impressions", shop.table("impressions").drop(columns="timestamp"))
    shop.run("--table", "1", "--table", "2", "--table", "7", "--figure", "6")
    assert int(shop.rows("table1")["#Data"]["ALL"]) == len(shop.table("impressions"))
    for name in ("table2", "table7", "figure6"):
        assert "prepare: " in shop.notes(name)
        assert "`timestamp`" in shop.notes(name)


def test_one_category_and_items_without_images(shop: Shop) -> None:
    items = shop.table("items").assign(category="thing")
    items.loc[::2, "image"] = None
    shop.write("items", items)
    shop.run("--table", "1", "--table", "7", "--figure", "6")
    assert "ALL" in shop.rows("table1")["#Items"]
    assert "Empty: there are no two categories" in shop.notes("table7")
    assert "Empty: no group has both clicks and others and 50 impressions." in shop.notes(
        "figure6"
    )  # 486 in ten groups
    assert (shop.workdir / "mim" / "rank" / "metrics.json").exists()


def test_users_who_never_come_again(shop: Shop) -> None:
    """Pairs of the search log train the encoders; who bought nothing before has no history to model."""
    log = shop.table("impressions")
    shop.write("impressions", log.assign(user_id=np.arange(len(log))))
    shop.run("--table", "1", "--table", "7")
    assert shop.rows("table1")["#Users"]["ALL"] == str(len(log))
    assert "the validation impressions cannot be measured" in shop.notes("table7")  # no user clicked and did not


def test_a_shop_with_photo_searches_alone(shop: Shop) -> None:
    """Without an impression log embeddings are compared by what they find."""
    shop.run("--table", "2", "--table", "3", without=("impressions",))
    rows = shop.rows("table3")
    assert all("AUC" not in row for row in rows.values())
    assert float(rows["+DDA+DMA+C-SFT"]["MRR"]) > 0
    assert "+DDA: `pretrain` names no adaptation." in shop.notes("table3")
    assert "`data.impressions` is not set, so there is no click model" in shop.notes("table2")
