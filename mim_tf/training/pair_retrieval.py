"""What stage 2's item encoder is worth: how early a query finds the item chosen, in the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from mim_tf.data.record_schema import VALIDATION_PAIRS, RecordSchema
from mim_tf.data.records import read_items
from mim_tf.data.training_batches import evaluation_batches
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.metrics import retrieval_metrics
from mim_tf.training.catalogue_embeddings import CatalogueEmbeddings, embed_catalogue, padded
from mim_tf.training.loop import Evaluation
from mim_tf.training.pictures import Shown
from mim_tf.training.retrieval_pictures import PICTURED, draw_retrieval

# A sample where there are more: the similarities of all queries and items are computed.
MOST_QUERIES = 5000
CUTOFFS = (1, 5, 10, 100)
_CUTOFFS_OF_ONE_MODALITY = (10,)
_READ_AT_ONCE = 256  # records looked through for those to be drawn


class ItemObjective(Protocol):
    """What is evaluated: whatever trains an item encoder."""

    items: ItemEncoder


class _Queries(NamedTuple):
    """The queries of the validation pairs."""

    embeddings: np.ndarray  # [queries, dim]
    chosen: np.ndarray  # [queries] ids of the items that were chosen
    own_items: np.ndarray  # [queries] ids of the items whose pictures the queries are; -1 or "" for a photo
    shown: list[Shown]  # the first of them


def pair_retrieval(records: Path, batch_size: int) -> Callable[[ItemObjective], Evaluation]:
    """Evaluate an item encoder by how early each validation query finds the item that was chosen.

    `recall_at_1`, `_5`, `_10`, `_100` and `mrr` are of queries against `h_MM` of all items, the ranking that equation
    (5) trains; those that begin with `title_` and `image_`, of queries against one modality alone. Cutoffs that are no
    smaller than the catalogue are left out, for nothing misses them. A query that is an item's picture does not meet
    that item. Some queries with their best items are drawn.

    There is no score. The pairs may lie in the period that the click model is validated on, and an encoder chosen by
    them would have seen it.

    Args:
        records: what `prepare` wrote, with validation pairs.
        batch_size: images embedded at once.
    """

    def evaluate(objective: ItemObjective) -> Evaluation:
        catalogue = embed_catalogue(objective.items, records, batch_size)
        queries = _embedded_queries(objective.items, records, batch_size)
        own_rows = _rows_of(queries.own_items, catalogue.item_ids)
        scalars = _metrics(queries, catalogue, own_rows)
        if tf.summary.should_record_summaries():
            _draw(queries, catalogue, own_rows, records)
        return Evaluation(None, scalars)

    return evaluate


def _metrics(queries: _Queries, catalogue: CatalogueEmbeddings, own_rows: np.ndarray) -> dict[str, float]:
    levels = {
        "": (catalogue.fused, CUTOFFS),
        "title_": (catalogue.text, _CUTOFFS_OF_ONE_MODALITY),
        "image_": (catalogue.image, _CUTOFFS_OF_ONE_MODALITY),
    }
    return {
        f"{level}{name}": value
        for level, (items, cutoffs) in levels.items()
        for name, value in retrieval_metrics(
            queries.embeddings,
            items,
            queries.chosen,
            catalogue.item_ids,
            excluded=own_rows,
            cutoffs=[cutoff for cutoff in cutoffs if cutoff < len(items)],
        ).items()
    }


def _embedded_queries(encoder: ItemEncoder, records: Path, batch_size: int) -> _Queries:
    size = min(batch_size, MOST_QUERIES, RecordSchema.load(records).counts[VALIDATION_PAIRS])
    batches = evaluation_batches(
        records,
        VALIDATION_PAIRS,
        batch_size=size,
        decode=lambda pair: pair | {"pixels": tf.cast(encoder.vision.decode(pair["query_image"]), tf.uint8)},
        assemble=lambda pairs, seed: pairs | {"pixels": padded(pairs["pixels"], size)},
        seed=0,
        most=MOST_QUERIES,
        verify=False,
    )
    rows: list[tuple[np.ndarray, ...]] = []
    shown: list[Shown] = []
    for pairs in batches:
        chosen, own_items = pairs["item_id"].numpy(), pairs["query_item_id"].numpy()
        rows.append((_embed(encoder, pairs["pixels"]).numpy()[: len(chosen)], chosen, own_items))
        some = slice(PICTURED - len(shown))
        photos, titles = pairs["query_image"][some].numpy(), pairs["title"][some].numpy()
        shown += [_shown(photo, b"chosen: " + title) for photo, title in zip(photos, titles, strict=True)]
    embeddings, chosen, own_items = map(np.concatenate, zip(*rows, strict=True))
    return _Queries(embeddings, chosen, own_items, shown)


# Traced once per encoder: it is measured again and again.
@tf.function
def _embed(encoder: ItemEncoder, images: tf.Tensor) -> tf.Tensor:
    return encoder.vision(tf.cast(images, tf.float32), training=False)


def _rows_of(item_ids: np.ndarray, catalogue: np.ndarray) -> np.ndarray:
    """Where the items are in the catalogue; -1 for what is no item's id, as a photo's."""
    rows = {item_id: row for row, item_id in enumerate(catalogue.tolist())}
    return np.array([rows.get(item_id, -1) for item_id in item_ids.tolist()])


def _draw(queries: _Queries, catalogue: CatalogueEmbeddings, own_rows: np.ndarray, records: Path) -> None:
    """The first queries with their best items, as a picture."""
    draw_retrieval(
        "query_to_item",
        queries.embeddings[:PICTURED],
        catalogue.fused,
        queries.chosen[:PICTURED],
        catalogue.item_ids,
        show_query=lambda row: queries.shown[row],
        show_candidates=lambda rows: _shown_items(records, catalogue.item_ids[rows]),
        excluded=own_rows[:PICTURED],
    )


def _shown_items(records: Path, item_ids: np.ndarray) -> list[Shown]:
    """Photos and titles of some items, read once more: those of a whole catalogue would not go into memory."""
    wanted = tf.constant(item_ids)

    def only_wanted(items: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        is_wanted = tf.reduce_any(items["item_id"][:, tf.newaxis] == wanted, axis=1)
        return {name: tf.boolean_mask(items[name], is_wanted) for name in ("item_id", "image", "title")}

    items = read_items(records, batch_size=_READ_AT_ONCE, verify=False).map(only_wanted).unbatch()
    found = {item["item_id"]: _shown(item["image"], item["title"]) for item in items.as_numpy_iterator()}
    return [found[item_id] for item_id in item_ids.tolist()]


def _shown(photo: bytes, title: bytes) -> Shown:
    return Shown(photo, title.decode(errors="replace"))
