"""What stage 1's models are worth on items that they were not trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.contrastive import alignment, uniformity
from mim_tf.data.record_schema import HELD_OUT_ITEMS
from mim_tf.data.training_batches import evaluation_batches
from mim_tf.metrics import retrieval_metrics
from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.masked_image import MaskedImage
from mim_tf.training.loop import Evaluation
from mim_tf.training.pictures import Direction, Shown, comparison_grid
from mim_tf.training.projector import write_projector
from mim_tf.training.retrieval_pictures import PICTURED, draw_retrieval

# A sample where there are more: the similarities of all pairs are computed.
MOST_ITEMS = 5000
_SCORE = "mrr"  # which, unlike a recall, grows until every rank is the first
_PHOTO_SIZE = 128  # pixels, of pictures; embeddings are of the whole ones


def held_out_losses(records: Path, seed: int, batch_size: int) -> Callable[[Any], Evaluation]:
    """Evaluate an adaptation by its losses on held-out items, with the same masks and views every time.

    Masked images are also drawn, with what was made of them.

    Args:
        records: what `prepare` wrote.
        seed: of masks and views.
        batch_size: examples at once; of views, those that are told apart.
    """

    def evaluate(objective: Any) -> Evaluation:
        batches = evaluation_batches(
            records,
            HELD_OUT_ITEMS,
            batch_size=batch_size,
            decode=objective.decode,
            assemble=objective.assemble,
            seed=seed,
            most=MOST_ITEMS,
            verify=False,
        )
        rows, weights = [], []
        for number, batch in enumerate(batches):
            rows.append({name: float(value) for name, value in _losses_of(objective, batch).items()})
            weights.append(len(next(iter(batch.values()))))
            if number == 0 and isinstance(objective, MaskedImage):
                first = {name: value[:PICTURED] for name, value in batch.items()}
                pictures = {name: value.numpy() for name, value in objective.reconstruct(first).items()}
                tf.summary.image("reconstructions", comparison_grid(pictures)[np.newaxis])
        scalars = {name: float(np.average([row[name] for row in rows], weights=weights)) for name in rows[0]}
        return Evaluation(-scalars["loss"], scalars)

    return evaluate


# Traced once per objective: it is evaluated again and again. The last batch may be smaller.
@tf.function(reduce_retracing=True)
def _losses_of(objective: Any, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return objective.losses_of(batch, training=False)


@tf.function(reduce_retracing=True)
def _embed(objective: ImageText, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    return objective.embed(batch, training=False)


class _Items(NamedTuple):
    """Held-out items and their embeddings."""

    images: np.ndarray  # [items, dim]
    texts: np.ndarray  # [items, dim]
    photos: np.ndarray  # [items, size, size, 3] uint8, at most 128 pixels
    titles: list[str]
    categories: list[str]

    def shown(self, row: int) -> Shown:
        """An item as pictures show it."""
        return Shown(self.photos[row], self.titles[row])


def held_out_retrieval(records: Path, batch_size: int) -> Callable[[ImageText], Evaluation]:
    """Evaluate an alignment by how early each held-out image finds its title, and each title its image.

    The score is the mean of both reciprocal ranks. Queries with their best results are drawn.

    Args:
        records: what `prepare` wrote.
        batch_size: items embedded at once.
    """

    def evaluate(objective: ImageText) -> Evaluation:
        items = _embedded(objective, records, batch_size)
        directions = {"image_to_text": (items.images, items.texts), "text_to_image": (items.texts, items.images)}
        scalars = {
            f"{direction}_{name}": value
            for direction, pair in directions.items()
            for name, value in retrieval_metrics(*pair, items.titles, items.titles).items()
        }
        scalars["alignment"] = float(alignment(items.images, items.texts))
        scalars["image_uniformity"] = float(uniformity(items.images))
        scalars["text_uniformity"] = float(uniformity(items.texts))
        if tf.summary.should_record_summaries():
            _draw(items, items.images, items.texts, "image_to_title")
            _draw(items, items.texts, items.images, "title_to_image")
        return Evaluation(sum(scalars[f"{direction}_{_SCORE}"] for direction in directions) / 2, scalars)

    return evaluate


def project_held_out(objective: ImageText, records: Path, batch_size: int, folder: Path) -> None:
    """Write held-out items for TensorBoard's projector: embeddings of images and titles, with thumbnails.

    Args:
        objective: the trained alignment.
        records: what `prepare` wrote.
        batch_size: items embedded at once.
        folder: of the projector alone; what it wrote there before is replaced.
    """
    items = _embedded(objective, records, batch_size)
    write_projector(
        folder,
        {"image": items.images, "title": items.texts},
        titles=items.titles,
        categories=items.categories,
        photos=list(items.photos),
    )


def _embedded(objective: ImageText, records: Path, batch_size: int) -> _Items:
    batches = evaluation_batches(
        records,
        HELD_OUT_ITEMS,
        batch_size=batch_size,
        decode=lambda record: objective.decode(record) | {"category": record["category"]},
        assemble=lambda examples, seed: examples | {"batch": objective.tokenize(examples)},
        seed=0,
        most=MOST_ITEMS,
        verify=False,
    )
    columns = [
        (_embed(objective, rows["batch"]), _photos(rows["image"]), rows["title"], rows["category"]) for rows in batches
    ]
    embeddings, photos, titles, categories = (np.concatenate(column) for column in zip(*columns, strict=True))
    return _Items(embeddings[:, 0], embeddings[:, 1], photos, _texts(titles), _texts(categories))


def _photos(images: tf.Tensor) -> tf.Tensor:
    """Images small enough to keep all of them, uint8."""
    if images.shape[1] <= _PHOTO_SIZE:
        return images
    return tf.saturate_cast(tf.image.resize(images, [_PHOTO_SIZE, _PHOTO_SIZE], "area"), tf.uint8)


def _texts(strings: np.ndarray) -> list[str]:
    return [string.decode(errors="replace") for string in strings]


def _draw(items: _Items, queries: np.ndarray, candidates: np.ndarray, direction: Direction) -> None:
    """The first queries with their best results, as a picture."""
    draw_retrieval(
        direction,
        queries[:PICTURED],
        candidates,
        items.titles[:PICTURED],
        items.titles,
        show_query=items.shown,
        show_candidates=lambda rows: [items.shown(row) for row in rows],
    )
