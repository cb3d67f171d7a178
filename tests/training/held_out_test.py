"""What is measured on held-out items, against NumPy on embeddings that are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.preparation import prepare
from mim_tf.data.records import read_items
from mim_tf.training.held_out import held_out_losses, held_out_retrieval, project_held_out

ITEMS = 40


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of which about half are held out."""
    folder = tmp_path_factory.mktemp("held_out")
    make_demo_shop(folder / "shop", items=60, users=10, days=10, searches=10)
    prepare(items=folder / "shop" / "items.parquet", folder=folder / "records", held_out=0.5, shards=2)
    return folder / "records"


class Known:
    """An alignment whose embeddings are drawn from the title: images with, titles without some noise."""

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        image = tf.cast(tf.image.resize(tf.io.decode_jpeg(record["image"], channels=3), [8, 8]), tf.uint8)
        return {"image": image, "title": record["title"]}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.tokenize(examples)

    def tokenize(self, examples: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        numbers = tf.strings.to_hash_bucket_fast(examples["title"], 1_000_000)
        return {"number": numbers, "image": examples["image"]}

    def embed(self, batch: dict[str, tf.Tensor], training: bool) -> tf.Tensor:
        phases = tf.cast(batch["number"], tf.float32)[:, tf.newaxis] * [1.0, 2.0, 3.0, 5.0]
        return tf.stack([tf.sin(phases), tf.sin(phases + 0.9)], axis=1)

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool) -> dict[str, tf.Tensor]:
        return {"loss": tf.reduce_mean(tf.cast(batch["number"], tf.float32))}


def held_out_titles(records: Path) -> list[str]:
    return [item["title"].decode() for item in read_items(records, "held_out").as_numpy_iterator()]


def expected_ranks(queries: np.ndarray, candidates: np.ndarray, titles: list[str]) -> list[int]:
    """1 + how many candidates of another title come before the best one of the query's title."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, candidates)]
    ranks = []
    for similarities, title in zip(unit[0] @ unit[1].T, titles, strict=True):
        right = np.array([other == title for other in titles])
        ranks.append(1 + int((similarities[~right] >= similarities[right].max()).sum()))
    return ranks


def test_recall_and_reciprocal_rank_of_both_directions(records: Path) -> None:
    objective: Any = Known()
    titles = held_out_titles(records)
    batch = objective.tokenize({"title": tf.constant(titles), "image": tf.zeros([len(titles), 8, 8, 3])})
    images, texts = objective.embed(batch, training=False).numpy().swapaxes(0, 1)
    evaluation = held_out_retrieval(records, batch_size=7)(objective)
    reciprocal_ranks = []
    for direction, pair in {"image_to_text": (images, texts), "text_to_image": (texts, images)}.items():
        ranks = np.array(expected_ranks(*pair, titles))
        for most in (1, 5, 10):
            found = evaluation.scalars[f"{direction}_recall_at_{most}"]
            assert found == pytest.approx((ranks <= most).mean())
        assert evaluation.scalars[f"{direction}_mrr"] == pytest.approx((1 / ranks).mean())
        reciprocal_ranks.append((1 / ranks).mean())
    assert evaluation.score == pytest.approx(np.mean(reciprocal_ranks))
    assert reciprocal_ranks[0] != pytest.approx(reciprocal_ranks[1])  # or a mix-up would not show


def test_losses_are_means_over_items_whatever_the_batches(records: Path) -> None:
    objective: Any = Known()
    numbers = objective.tokenize({"title": tf.constant(held_out_titles(records)), "image": 0})["number"].numpy()
    for batch_size in (7, 256):
        evaluation = held_out_losses(records, seed=0, batch_size=batch_size)(objective)
        assert evaluation.scalars["loss"] == pytest.approx(numbers.mean(), rel=1e-5)
        assert evaluation.score == -evaluation.scalars["loss"]


def test_pictures_are_drawn_where_someone_looks_and_the_projector_is_written(records: Path, tmp_path: Path) -> None:
    evaluate = held_out_retrieval(records, batch_size=16)
    with tf.summary.create_file_writer(str(tmp_path / "events")).as_default(step=3):
        evaluate(Known())  # type: ignore[arg-type]
    (events,) = (tmp_path / "events").iterdir()
    written = events.read_bytes()
    assert b"image_to_title" in written
    assert b"title_to_image" in written
    project_held_out(Known(), records, 16, tmp_path / "projector")  # type: ignore[arg-type]
    metadata = (tmp_path / "projector" / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert len(metadata) == 1 + len(held_out_titles(records))
