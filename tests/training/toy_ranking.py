"""A workdir that is ready for stage 3: a drawn shop, prepared, with random embeddings of its items."""

from pathlib import Path
from typing import Any

import numpy as np

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.settings import Settings, dump_settings
from mim_tf.workdir import StageFolder

ITEMS, DIM = 60, 4


def settings_of(folder: Path, **rank: Any) -> Settings:
    """Settings of a small click model, with a feature that is looked up in a vocabulary."""
    files = {name: str(folder / "shop" / f"{name}.parquet") for name in ("items", "impressions")}
    columns = {"history_length": 6, "shards": 2, "item_features": ["title"]}
    network = {
        "hash_bins": 40_000,  # of 2 floats: above the size from which a table is cut into shards
        "item_dim": 2,
        "category_dim": 2,
        "tower_units": [8],
        "dropout": 0,
        "features": {"title": {"kind": "vocabulary", "size": 5, "dim": 2}},
    }
    return Settings.model_validate(
        {
            "data": {**files, "validation_from": "2025-01-17", **columns},
            "encoders": {"dim": DIM},
            "rank": {"batch_size": 64, "epochs": 2, **network, **rank},
        }
    )


def make_workdir(folder: Path, **rank: Any) -> Settings:
    """Draw the shop and write what the stages before `rank` leave, as far as it is read, with `run.yaml`."""
    from mim_tf.representation import EmbeddingStore
    from mim_tf.training import prepare
    from mim_tf.training.represent import fingerprint_file, store_path

    settings = settings_of(folder, **rank)
    make_demo_shop(folder / "shop", items=ITEMS, users=60, days=20, searches=10)
    (folder / "run.yaml").write_text(dump_settings(settings))
    for stage in ("prepare", "pretrain", "csft", "represent"):
        with StageFolder(folder, stage).begin(settings):
            metrics = prepare.run(settings, folder) if stage == "prepare" else {"seconds": 1.0}
            StageFolder(folder, stage).finish(metrics)
    represent = StageFolder(folder, "represent")
    store = EmbeddingStore.create(store_path(settings, folder), id_type="int64", dim=DIM)
    embeddings = np.random.default_rng(0).normal(size=(ITEMS, DIM))
    store.upsert(_item_ids(folder), embeddings, encoder="random")
    fingerprint_file(represent).write_text("random\n")
    return settings


def _item_ids(folder: Path) -> np.ndarray:
    from mim_tf.data.records import read_items

    [batch] = read_items(folder / "prepare" / "records").batch(2 * ITEMS)
    return batch["item_id"].numpy()
