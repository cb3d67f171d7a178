"""The representation center's filling: every item's embedding, computed once, into the store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from mim_tf.data.record_schema import RecordSchema
from mim_tf.data.records import read_items
from mim_tf.errors import StageError
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from mim_tf.training.item_encoder_model import save_item_encoder_model
from mim_tf.training.models import (
    item_encoder_folder,
    load_item_encoder,
    records_folder,
    save_item_encoder,
)
from mim_tf.workdir import StageFolder, fresh_folder_aside, write_aside

_CENTRED_ON = 4096  # items; the records come shuffled


def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Embed all items in record order, committing as it goes; an interrupted run continues after its last commit."""
    prepare, stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "represent")
    encoder = _encoder(settings, workdir)
    save_item_encoder_model(stage, encoder)
    fingerprint = encoder.fingerprint()
    id_type = RecordSchema.load(records_folder(prepare)).item_id
    store = _open_store(store_path(stage), id_type, settings.encoders.dim)
    if store.encoder not in (None, fingerprint):
        raise StageError(f"{store.path} holds another encoder's embeddings. Delete {stage.path} and run again.")

    done, start = len(store), time.monotonic()
    items = read_items(records_folder(prepare)).skip(done)
    batches = embed_items(encoder, items, batch_size=settings.represent.batch_size)
    with tqdm(total=int(prepare.metrics["items"]), initial=done, unit="item", disable=None) as bar:
        for item_ids, embeddings in _chunks(batches, settings.represent.commit_rows):
            store.upsert(item_ids, embeddings, encoder=fingerprint)
            bar.update(len(item_ids))
    write_aside(fingerprint_file(stage), fingerprint + "\n")
    seconds = time.monotonic() - start
    _summarise(store, stage.tensorboard)
    return {
        "items": len(store),
        "dim": store.dim,
        "store_version": store.version,
        "seconds": seconds,
        "items_per_second": (len(store) - done) / seconds,
    }


def store_path(represent: StageFolder) -> Path:
    """Where the store is."""
    return represent.path / "store.lance"


def fingerprint_file(represent: StageFolder) -> Path:
    """Where the fingerprint of the encoder is that filled the store."""
    return represent.path / "fingerprint.txt"


def _encoder(settings: Settings, workdir: Path) -> ItemEncoder:
    """C-SFT's encoder, `h_MM` centred on the catalogue if wanted; what an interrupted run centred is used again."""
    prepare, stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "represent")
    precision = settings.encoders.precision
    if item_encoder_folder(stage).exists():
        return load_item_encoder(stage, precision)
    encoder = load_item_encoder(StageFolder(workdir, "csft"), precision)
    if settings.represent.centre:
        sample = read_items(records_folder(prepare)).take(_CENTRED_ON)
        inputs = _inputs(encoder, sample, settings.represent.batch_size)
        encoder.centre((images, token_ids) for _, images, token_ids in inputs)
    save_item_encoder(stage, encoder)
    return encoder


def embed_items(
    encoder: ItemEncoder, items: tf.data.Dataset, *, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Item ids `[batch]` and their fused embeddings `[batch, dim]`, in the order of the records."""

    @tf.function
    def embed(images: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
        return encoder(images, token_ids, training=False).fused

    for item_ids, images, token_ids in _inputs(encoder, items, batch_size):
        yield _plain_ids(item_ids.numpy()), embed(images, token_ids).numpy()


def _inputs(encoder: ItemEncoder, items: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Item ids, images and token ids of item records, in their order."""

    def decode(item: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        return item["item_id"], encoder.vision.decode(item["image"]), item["title"]

    def tokenize(item_ids: tf.Tensor, images: tf.Tensor, titles: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return item_ids, images, encoder.text.tokenize(titles)

    return items.map(decode, tf.data.AUTOTUNE).batch(batch_size).map(tokenize, tf.data.AUTOTUNE).prefetch(2)


def _plain_ids(item_ids: np.ndarray) -> np.ndarray:
    """TensorFlow's bytes as str; int64 as it is."""
    if item_ids.dtype != object:
        return item_ids
    return np.array([item_id.decode() for item_id in item_ids], dtype=object)


def _open_store(path: Path, id_type: str, dim: int) -> EmbeddingStore:
    """The store of an interrupted run, or an empty one, created aside: a killed creation leaves nothing to open."""
    if not path.exists():
        aside = fresh_folder_aside(path)
        EmbeddingStore.create(aside, id_type=id_type, dim=dim)
        os.replace(aside, path)
    return EmbeddingStore(path)


def _chunks(batches: Iterator[tuple[np.ndarray, np.ndarray]], rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches put together until they have at least `rows` rows."""
    pending: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in batches:
        pending.append(batch)
        if sum(len(item_ids) for item_ids, _ in pending) >= rows:
            yield _joined(pending)
            pending = []
    if pending:
        yield _joined(pending)


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    item_ids, embeddings = zip(*batches, strict=True)
    return np.concatenate(item_ids), np.concatenate(embeddings)


def _summarise(store: EmbeddingStore, tensorboard: Path) -> None:
    """How long the embeddings are and how alike: a collapsed encoder shows as similarities near 1."""
    embeddings = store.read().embeddings.astype(np.float32)
    norms = np.linalg.norm(embeddings, axis=1)
    directions = embeddings / np.maximum(norms, 1e-12)[:, np.newaxis]
    others = np.random.default_rng(0).permutation(len(directions))
    with tf.summary.create_file_writer(str(tensorboard)).as_default(step=0):
        tf.summary.histogram("norm", norms)
        tf.summary.histogram("cosine_of_random_pairs", np.sum(directions * directions[others], axis=1))
