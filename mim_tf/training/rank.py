"""Stage 3: train the click model, once as the settings say and once without content, and compare them."""

from __future__ import annotations

import time
from pathlib import Path

import tensorflow as tf
from tensorflow import keras
from tqdm import tqdm

from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_impressions
from mim_tf.errors import DataError, SettingsError
from mim_tf.ranking import Ranker, RankingNetwork
from mim_tf.ranking.tfrs_model import RankingModel
from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder
from mim_tf.training.represent import store_path
from mim_tf.training.scoring import score_validation
from mim_tf.workdir import StageFolder

# The stage's two models, by the name of their checkpoints: the one asked for, and the one it is compared with.
VARIANTS = ("model", "without_content")
COMPARED = ("auc", "grouped_auc", "log_loss")
_SHUFFLED = 100_000  # impressions; the records come shuffled, this varies the epochs


def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Train both variants and measure them on the validation impressions."""
    start = time.monotonic()
    scores = {}
    for variant in VARIANTS:
        keras.utils.set_random_seed(settings.seed)  # both start from the same draw
        ranker = build_ranker(settings, workdir, variant)
        _train(ranker, settings, StageFolder(workdir, "rank"), variant)
        scores[variant] = score_validation(ranker, settings, workdir)
    compared = {f"{name}_without_content": scores["without_content"][name] for name in COMPARED}
    return scores["model"] | compared | {"seconds": time.monotonic() - start}


def build_ranker(settings: Settings, workdir: Path, variant: str) -> Ranker:
    """A ranker with fresh weights and, where it uses content, the table of the finished `represent` stage.

    Args:
        settings: of the run.
        workdir: its folder.
        variant: one of `VARIANTS`.

    Raises:
        SettingsError: a setting the network refuses.
    """
    options = settings.rank
    with_content = variant == "model"
    try:
        network = RankingNetwork(
            ubm=options.ubm,
            content=options.content and with_content,
            fusion=options.fusion and with_content,
            item_dim=options.item_dim,
            category_dim=options.category_dim,
            hash_bins=options.hash_bins,
            item_l2=options.item_l2,
            tower_units=options.tower_units,
            dropout=options.dropout,
        )
    except ValueError as error:
        raise SettingsError(f"rank: {error}") from error
    ranker = Ranker(network, load_table(workdir) if network.uses_content else None)
    ranker.logits(_one_row(RecordSchema.load(records_folder(StageFolder(workdir, "prepare")))))  # creates the weights
    return ranker


def load_table(workdir: Path) -> EmbeddingTable:
    """The embedding table of the finished `represent` stage.

    Raises:
        DataError: two string ids have the same hash.
    """
    stored = EmbeddingStore(store_path(StageFolder(workdir, "represent"))).read()
    try:
        return EmbeddingTable(stored.item_ids, stored.embeddings)
    except ValueError as error:
        raise DataError(f"the items' embeddings cannot make a table: {error}") from error


def load_ranker(settings: Settings, workdir: Path, variant: str) -> Ranker:
    """A trained ranker of the finished `rank` stage."""
    ranker = build_ranker(settings, workdir, variant)
    checkpoint = tf.train.Checkpoint(network=ranker.network)
    checkpoint.read(_trained(StageFolder(workdir, "rank"), variant)).assert_consumed()
    return ranker


def _train(ranker: Ranker, settings: Settings, stage: StageFolder, variant: str) -> None:
    """Fit one variant, continuing after the last whole epoch of an interrupted run."""
    checkpoint, path = tf.train.Checkpoint(network=ranker.network), _trained(stage, variant)
    if Path(f"{path}.index").exists():  # written last
        checkpoint.read(path)
        return
    records = records_folder(StageFolder(stage.workdir, "prepare"))
    model = RankingModel(ranker)
    model(_one_row(RecordSchema.load(records)))  # BackupAndRestore wants a model that was called
    model.compile(optimizer=keras.optimizers.Adam(settings.rank.learning_rate))
    batch_size, epochs = settings.rank.batch_size, settings.rank.epochs
    train = read_impressions(records, "train", batch_size=batch_size, shuffle=_SHUFFLED, seed=settings.seed)
    steps = -(-RecordSchema.load(records).counts["impressions/train"] // batch_size)
    model.fit(
        train,
        validation_data=read_impressions(records, "validation", batch_size=batch_size),
        epochs=epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.BackupAndRestore(str(stage.checkpoints / f"{variant}-backup")),
            keras.callbacks.TensorBoard(str(stage.tensorboard / variant), profile_batch=0),
            _Progress(variant, epochs, steps),
        ],
    )
    checkpoint.write(path)


def _trained(stage: StageFolder, variant: str) -> str:
    """Prefix of a variant's final checkpoint."""
    return str(stage.checkpoints / variant)


def _one_row(schema: RecordSchema) -> dict[str, tf.Tensor]:
    """The features of an impression without a history."""
    item_id = tf.zeros([1], tf.int64) if schema.item_id == "int64" else tf.constant([""])
    no_history = tf.zeros([1, 0], tf.string)
    return {
        "item_id": item_id,
        "category": tf.constant([""]),
        "history_item_id": tf.zeros([1, 0], item_id.dtype),
        "history_category": no_history,
    }


class _Progress(keras.callbacks.Callback):
    """A progress bar over all steps of a `fit`, with the last epoch's validation AUC."""

    def __init__(self, name: str, epochs: int, steps: int):
        super().__init__()
        self._name, self._epochs, self._steps = name, epochs, steps

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._bar = tqdm(desc=self._name, total=self._epochs * self._steps, unit="step", disable=None)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.update(epoch * self._steps - self._bar.n)  # a continued training starts at a later epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.set_postfix(validation_auc=f"{(logs or {}).get('val_auc', float('nan')):.4f}")

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._bar.close()
