"""The representation center's filling: every item's embedding, computed once, into the store."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_items
from mim_tf.engine import LOCAL, Engine
from mim_tf.errors import DataError, SettingsError, StageError
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.representation import EmbeddingStore
from mim_tf.representation.row_precision import ROW_DTYPES, cosine_errors
from mim_tf.settings import Settings
from mim_tf.training.changed_items import compared_at_once
from mim_tf.training.filling import Filled, embeddings_of, encoder_inputs, fill
from mim_tf.training.item_encoder_model import save_item_encoder_model
from mim_tf.training.item_projector import project_items
from mim_tf.training.models import (
    earlier_item_encoder,
    item_encoder_folder,
    load_item_encoder,
    records_folder,
    save_item_encoder,
)
from mim_tf.training.spark_filling import filling_session, spark_fill
from mim_tf.workdir import StageFolder, fresh_folder_aside, write_aside

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

READ_AT_ONCE = 64  # records

_CENTRED_ON = 4096  # items; the records come shuffled


def run(settings: Settings, workdir: Path, engine: Engine = LOCAL) -> dict[str, float]:
    """Embed the items that the store does not hold as they are; interrupted, it continues."""
    prepare, stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "represent")
    session = None if engine.name == "local" else _session(engine, settings)
    records = records_folder(prepare)
    items = read_items(records, batch_size=READ_AT_ONCE, verify=session is None)  # executors check what they read
    try:
        encoder = _encoder(settings, workdir, items)
    except tf.errors.DataLossError as error:
        raise DataError(f"`{records}` must hold intact TFRecord files. Received: {error.message}") from error
    store = _open_store(settings, workdir, RecordSchema.load(records).item_id, encoder.fingerprint())
    if not item_encoder_folder(stage).exists():
        save_item_encoder(stage, encoder)
    save_item_encoder_model(stage, encoder)

    start = time.monotonic()
    if session is None:
        filled = _fill_here(store, encoder, items, settings, workdir)
    else:
        filled = _fill_on_spark(session, store, encoder.fingerprint(), settings, workdir)
    seconds = time.monotonic() - start
    write_aside(fingerprint_file(stage), encoder.fingerprint() + "\n")
    sample = filled.sample if len(filled.sample) else _sample(encoder, items, settings.represent.batch_size)
    _summarise(sample, stage.tensorboard)
    project_items(encoder, items, settings.represent.batch_size, stage.tensorboard / "projector")
    return {
        "items": len(store),
        "embedded": filled.embedded,
        "skipped": filled.skipped,
        "dim": store.dim,
        "store_version": store.version,
        **{f"cosine_error_{dtype}": float(cosine_errors(sample, dtype).mean()) for dtype in ROW_DTYPES},
        "seconds": seconds,
        "items_per_second": filled.embedded / seconds,
    }


def _session(engine: Engine, settings: Settings) -> SparkSession:
    if settings.data.cache is not None:
        raise SettingsError(
            "`data.cache` must be left out with --engine spark, so that record files are fetched to the workdir: in a "
            f"folder of this machine alone executors do not see them. Received: {settings.data.cache}."
        )
    return filling_session(engine, settings.represent.batch_size)


def store_path(settings: Settings, workdir: Path) -> str:
    """Where the store is: a path or a URI."""
    return settings.represent.store or str(StageFolder(workdir, "represent").path / "store.lance")


def fingerprint_file(represent: StageFolder) -> Path:
    """Where the fingerprint of the encoder is that filled the store."""
    return represent.path / "fingerprint.txt"


def _fill_here(
    store: EmbeddingStore, encoder: ItemEncoder, items: tf.data.Dataset, settings: Settings, workdir: Path
) -> Filled:
    prepare, options = StageFolder(workdir, "prepare"), settings.represent
    return fill(
        store,
        encoder,
        items,
        total=int(prepare.metrics["items"]),
        known_at=_known_at(prepare),
        compare_rows=compared_at_once(RecordSchema.load(records_folder(prepare))),
        batch_size=options.batch_size,
        commit_rows=options.commit_rows,
    )


def _fill_on_spark(
    session: SparkSession, store: EmbeddingStore, fingerprint: str, settings: Settings, workdir: Path
) -> Filled:
    """With paths that do not depend on where a process runs."""
    prepare, represent = (StageFolder(workdir.resolve(), stage) for stage in ("prepare", "represent"))
    return spark_fill(
        store if "://" in store.path else EmbeddingStore(Path(store.path).resolve()),
        represent,
        records_folder(prepare),
        session=session,
        fingerprint=fingerprint,
        known_at=_known_at(prepare),
        batch_size=settings.represent.batch_size,
        commit_rows=settings.represent.commit_rows,
    )


def _known_at(prepare: StageFolder) -> float:
    """When the items were as the records have them, seconds since 1970 UTC."""
    return prepare.metrics.get("prepared_at", 0.0)


def _encoder(settings: Settings, workdir: Path, items: tf.data.Dataset) -> ItemEncoder:
    """An earlier run's encoder as it is, or C-SFT's, `h_MM` centred if wanted; an interrupted run's is used again."""
    stage, precision = StageFolder(workdir, "represent"), settings.encoders.precision
    if item_encoder_folder(stage).exists():
        return load_item_encoder(stage, precision)
    if settings.represent.encoder is not None:
        return earlier_item_encoder(settings.represent.encoder, settings.encoders)
    encoder = load_item_encoder(StageFolder(workdir, "csft"), precision)
    if settings.represent.centre:
        inputs = encoder_inputs(encoder, items.unbatch().take(_CENTRED_ON), settings.represent.batch_size)
        encoder.centre((tf.cast(batch["images"], tf.float32), batch["token_ids"]) for batch in inputs)
    return encoder


def _open_store(settings: Settings, workdir: Path, id_type: str, fingerprint: str) -> EmbeddingStore:
    """The store, made if there is none.

    Raises:
        StageError: it cannot be opened or made, or is for other ids, another dimension, or another encoder.
    """
    path, dim = store_path(settings, workdir), settings.encoders.dim
    store = _at_uri(path, id_type, dim) if "://" in path else _in_folder(Path(path), id_type, dim)
    if (store.id_type, store.dim) != (id_type, dim):
        raise StageError(
            f"{path} must hold {dim} numbers for each {id_type} id, as `encoders.dim` and the records say. Received: a "
            f"store of {store.dim} for each {store.id_type} id. Give `represent.store` another place."
        )
    if store.encoder not in (None, fingerprint):
        remedy = f"Delete {StageFolder(workdir, 'represent').path} and run again."
        if settings.represent.store is not None:
            remedy = "Give `represent.store` another place, or as `represent.encoder` the encoder that filled it."
        raise StageError(
            f"{path} must hold embeddings of this run's encoder, {fingerprint}. Received: of {store.encoder}. {remedy}"
        )
    return store


def _in_folder(path: Path, id_type: str, dim: int) -> EmbeddingStore:
    """An empty store is made aside: a killed creation leaves nothing to open."""
    if not path.exists():
        aside = fresh_folder_aside(path)
        EmbeddingStore.create(aside, id_type=id_type, dim=dim)
        os.replace(aside, path)
    return EmbeddingStore(path)


def _at_uri(uri: str, id_type: str, dim: int) -> EmbeddingStore:
    """An object store has no renames; there a creation is one write."""
    try:
        return EmbeddingStore(uri)
    except StageError as not_opened:
        try:
            return EmbeddingStore.create(uri, id_type=id_type, dim=dim)
        except StageError as not_made:
            raise StageError(f"{not_opened} {not_made}") from not_made


def _sample(encoder: ItemEncoder, items: tf.data.Dataset, batch_size: int) -> np.ndarray:
    """Embeddings of the first items, `[sample, dim]` float32, where no others were made."""
    [batch] = encoder_inputs(encoder, items.unbatch(), batch_size).take(1)
    return embeddings_of(encoder, batch, len(batch["images"]))


def _summarise(sample: np.ndarray, tensorboard: Path) -> None:
    """How long embeddings `[sample, dim]` are and how alike: a collapsed encoder shows as similarities near 1."""
    norms = np.linalg.norm(sample, axis=1)
    directions = sample / np.maximum(norms, 1e-12)[:, np.newaxis]
    others = np.random.default_rng(0).permutation(len(directions))
    with tf.summary.create_file_writer(str(tensorboard)).as_default(step=0):
        tf.summary.histogram("norm", norms)
        tf.summary.histogram("cosine_of_random_pairs", np.sum(directions * directions[others], axis=1))
