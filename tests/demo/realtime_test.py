"""`python -m mim_tf.demo.realtime` at toy size, as a user would type it: from a drawn shop to a picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.representation import EmbeddingStore

pytestmark = pytest.mark.slow

# Nothing is learnt about content: embeddings of drawn encoders arrive as those of trained ones do.
CONFIG = """\
data:
  items: items.parquet
  impressions: impressions.parquet
  validation_from: 2025-01-17
  history_length: 8
  shards: 2
encoders:
  vision: {name: vit_toy, image_size: 32}
  text: {name: bert_toy, length: 8}
  dim: 8
pretrain: {image_text: null}
csft: {epochs: 0}
rank: {ubm: average, epochs: 1, batch_size: 64, hash_bins: 256, tower_units: [8]}
"""
SHOP_ITEMS, ANNOUNCED = 60, 20  # the latter in 4 s, 5 a second
# The commands choose their Keras themselves.
ENV = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}


def test_new_items_become_rankable(tmp_path: Path) -> None:
    workdir, config = tmp_path / "work", tmp_path / "toy.yaml"
    config.write_text(CONFIG)
    make_demo_shop(workdir / "shop", items=SHOP_ITEMS, users=60, days=20, searches=10)
    command = [sys.executable, "-m", "mim_tf.demo.realtime", "--config", str(config), "--workdir", str(workdir)]
    run = subprocess.run([*command, "--seconds", "4"], capture_output=True, text=True, check=False, env=ENV)
    assert run.returncode == 0, run.stdout + run.stderr

    *_, items, freshness, requests, picture = run.stdout.split("Ended:")[0].strip().splitlines()
    assert items == f"{ANNOUNCED} items became rankable."
    p50, p99, longest = map(float, re.findall(r"(\d+\.\d+) s", freshness))
    assert 0 < p50 <= p99 <= longest
    assert freshness.startswith("From arrival to the first score: ")
    assert re.fullmatch(r"\d+ ranking requests meanwhile: p50 .* ms, p99 .* ms, longest \d+ ms, 0 failed\.", requests)
    assert picture == f"Over time: {workdir / 'realtime' / 'freshness.png'}"
    told = re.findall(r"^ +\d+\.\d s  (?:nan|0\.\d{3}) -> 0\.\d{3}  after \d+\.\d\d s  \S", run.stdout, re.MULTILINE)
    assert len(told) == ANNOUNCED
    with Image.open(workdir / "realtime" / "freshness.png") as image:
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10

    shop = pq.read_table(workdir / "shop" / "items.parquet")["item_id"].to_pylist()
    announced = [int(path.stem) for path in (workdir / "incoming").glob("*.jsonl")]
    stored = EmbeddingStore(workdir / "represent" / "store.lance").read()
    assert (len(shop), len(announced)) == (SHOP_ITEMS, ANNOUNCED)
    assert sorted(stored.item_ids.tolist()) == sorted(shop + announced)
    assert re.search(rf"^Ended: {ANNOUNCED} committed\.$", run.stdout, re.MULTILINE)
