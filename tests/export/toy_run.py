"""A workdir that is ready to be exported: a drawn shop, random embeddings, random weights of a click model."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.settings import Settings, dump_settings
from mim_tf.workdir import StageFolder
from tests.training.toy_ranking import DIM, ITEMS, settings_of

PADDING = {"int64": -1, "string": b""}
UNKNOWN = {"int64": 2**60, "string": b"nobody's"}
_OF_TARGETS, _OF_HISTORIES = ("item_id", "category", "item_title"), ("item_id", "category", "title", "timestamp")
_INPUTS = (*_OF_TARGETS, *(f"history_{name}" for name in _OF_HISTORIES), "timestamp")
Rows = dict[str, np.ndarray]


def make_run(folder: Path, id_type: str, **rank: Any) -> Settings:
    """Write what the stages leave, as far as exports read it, with `run.yaml`."""
    from mim_tf.representation import EmbeddingStore
    from mim_tf.training import prepare
    from mim_tf.training.rankers import build_ranker
    from mim_tf.training.represent import fingerprint_file, store_path

    settings = settings_of(folder, **rank)
    make_demo_shop(folder / "shop", items=ITEMS, users=40, days=20, searches=10)
    if id_type == "string":
        _name_items(folder / "shop")
    (folder / "run.yaml").write_text(dump_settings(settings))
    for stage in ("prepare", "pretrain", "csft", "represent", "rank"):
        with StageFolder(folder, stage).begin(settings):
            metrics = prepare.run(settings, folder) if stage == "prepare" else {"seconds": 1.0}
            StageFolder(folder, stage).finish(metrics)
    represent, rank = StageFolder(folder, "represent"), StageFolder(folder, "rank")
    item_ids = parquet.read_table(folder / "shop" / "items.parquet")["item_id"].to_numpy()
    store = EmbeddingStore.create(store_path(settings, folder), id_type=id_type, dim=DIM, slots=7)
    store.upsert(item_ids, np.random.default_rng(0).normal(size=(ITEMS, DIM)), encoder="random")
    fingerprint_file(represent).write_text("random\n")
    rank.checkpoints.mkdir()
    build_ranker(settings, folder, "model").checkpoint().write(str(rank.checkpoints / "model-0"))
    return settings


def _name_items(shop: Path) -> None:
    """Make strings of the shop's integer ids."""
    for name in ("items.parquet", "impressions.parquet"):
        table = parquet.read_table(shop / name)
        place = table.schema.get_field_index("item_id")
        names = pc.binary_join_element_wise("ü", table["item_id"].cast(pa.string()), "-")
        parquet.write_table(table.set_column(place, "item_id", names), shop / name)


def impressions(folder: Path, id_type: str) -> Rows:
    """Some rows of the model's inputs, an unknown item, an unknown behaviour and an empty history among them."""
    from mim_tf.data.records import read_impressions

    batch = next(iter(read_impressions(folder / "prepare" / "records", "validation", batch_size=32)))
    rows = {name: batch[name].numpy() for name in _INPUTS}
    rows["item_id"][0] = UNKNOWN[id_type]
    rows["history_item_id"][1, 0] = UNKNOWN[id_type]
    rows["history_item_id"][2], rows["history_category"][2] = PADDING[id_type], b""
    return rows


def expected(settings: Settings, folder: Path, rows: Rows) -> np.ndarray:
    """What the ranker in this process gives, which has the table that the store has now."""
    from mim_tf.training.rank import load_ranker

    ranker = load_ranker(settings, folder, "model")
    return ranker.probabilities({name: tf.constant(column) for name, column in rows.items()}).numpy()
