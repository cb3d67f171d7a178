"""A workdir as a finished run leaves it, without a training: random encoders, predictions of a known skill."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from mim_tf.training import prepare
from mim_tf.training.catalogue_embeddings import embed_catalogue
from mim_tf.training.changed_items import plain_ids
from mim_tf.training.models import records_folder, save_item_encoder
from mim_tf.training.rankers import variants_of
from mim_tf.training.represent import store_path
from mim_tf.training.scoring import predictions_path, score, validation_sessions
from mim_tf.workdir import StageFolder
from tests.training.toy_items import DIM, toy_encoder

ITEMS, USERS = 60, 60
EVIL = "<script>document.title = 'run'</script><img src=x onerror=alert(1)> & \"so\" 'on'"
SKILLS = {"model": 0.8, "base": 0.2}


class Guess:
    """Stands in for a ranker: probabilities that lean to the label, with noise."""

    def __init__(self, skill: float, seed: int):
        self._skill, self._rng = skill, np.random.default_rng(seed)

    def score(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        labels = batch["label"].numpy()
        logits = self._skill * (2 * labels - 1) + self._rng.normal(size=labels.shape) - 1.0
        return tf.constant(1 / (1 + np.exp(-logits)), tf.float32)


def settings_of(folder: Path, *, pairs: bool = True, **rank: Any) -> Settings:
    files = {name: str(folder / "shop" / f"{name}.parquet") for name in ("items", "impressions")}
    if pairs:
        files["pairs"] = str(folder / "shop" / "pairs.parquet")
    rest = {"validation_from": "2025-01-17", "history_length": 8, "shards": 2, "held_out": 0}
    rest |= {} if pairs else {"pairs_share": 0.0}
    options = {"batch_size": 64, "candidates": 3, **rank}
    return Settings.model_validate({"data": files | rest, "encoders": {"dim": DIM}, "rank": options})


def make_run(folder: Path, *, text_ids: bool = False, pairs: bool = True, **rank: Any) -> Settings:
    """Draw a shop whose titles and categories hold what a page must not run, and write what stages leave of it.

    Args:
        folder: of the run, and of its shop.
        text_ids: names items and users by strings.
        pairs: whether there is a search log; without one no pairs are mined.
        rank: settings of that stage.
    """
    settings = settings_of(folder, pairs=pairs, **rank)
    make_demo_shop(folder / "shop", items=ITEMS, users=USERS, days=20, searches=40)
    _spoil(folder / "shop", text_ids)
    for stage in ("prepare", "pretrain", "csft", "represent"):
        with StageFolder(folder, stage).begin(settings):
            metrics = prepare.run(settings, folder) if stage == "prepare" else {"seconds": 75.0, "held_out_mrr": 0.5}
            StageFolder(folder, stage).finish(metrics)
    _write_curve(StageFolder(folder, "csft").tensorboard, "loss", [3.0, 2.0, 1.5])
    pretrain = StageFolder(folder, "pretrain").tensorboard
    _write_curve(pretrain / "image_text", "image_to_text_accuracy", [0.25, 0.5])
    _write_curve(pretrain / "hparams", "image_text_loss", [9.0])  # a row of TensorBoard's table, and no curve
    _fill_store(settings, folder)
    _finish_rank(settings, folder)
    return settings


def _fill_store(settings: Settings, folder: Path) -> None:
    """As the stage does it, but for a SavedModel of the encoder, which takes its time and nobody here reads."""
    stage, encoder = StageFolder(folder, "represent"), toy_encoder()
    save_item_encoder(stage, encoder)
    embedded = embed_catalogue(encoder, records_folder(StageFolder(folder, "prepare")), 16)
    ids = plain_ids(embedded.item_ids)
    id_type = "int64" if ids.dtype == np.int64 else "string"
    store = EmbeddingStore.create(store_path(settings, folder), id_type=id_type, dim=DIM)
    store.upsert(ids, embedded.fused, encoder=encoder.fingerprint())


def _finish_rank(settings: Settings, folder: Path) -> None:
    stage, records = StageFolder(folder, "rank"), records_folder(StageFolder(folder, "prepare"))
    with stage.begin(settings):
        for variant in variants_of(settings):
            for seed in range(settings.rank.seeds):
                guess = Guess(SKILLS[variant], 10 * seed + len(variant))
                scored = score(guess, validation_sessions(records, settings.rank))  # type: ignore[arg-type]
                scored.save(predictions_path(folder, variant, seed))
                _write_curve(stage.tensorboard / f"{variant}-{seed}" / "validation", "epoch_auc", [0.5, 0.6])
        stage.finish({"auc": 0.7, "seconds": 4.0})


def _write_curve(folder: Path, tag: str, values: list[float]) -> None:
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for step, value in enumerate(values):
            tf.summary.scalar(tag, value, step=step)
    writer.close()


def _spoil(shop: Path, text_ids: bool) -> None:
    """Put markup into titles and categories, and make strings of ids."""
    items = parquet.read_table(shop / "items.parquet")
    for name in ("title", "category"):
        spoilt = pc.binary_join_element_wise(EVIL, items[name], " ")
        items = items.set_column(items.column_names.index(name), name, spoilt)
    parquet.write_table(items, shop / "items.parquet")
    if not text_ids:
        return
    for name in ("items", "impressions", "pairs"):
        table = parquet.read_table(shop / f"{name}.parquet")
        for column in ("item_id", "user_id"):
            if column in table.column_names:
                names = pc.binary_join_element_wise(EVIL, table[column].cast(pa.string()), "ü")
                table = table.set_column(table.column_names.index(column), column, names)
        parquet.write_table(table, shop / f"{name}.parquet")
