"""The section of query photos: what they find, and where the item lies that was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.data.record_files import RecordFiles
from mim_tf.data.record_parser import RecordParser
from mim_tf.data.record_schema import VALIDATION_PAIRS, RecordSchema
from mim_tf.pages.markup import Html, paragraph
from mim_tf.pages.section import Section
from mim_tf.report.cards import card, item_card, strip
from mim_tf.report.shop_items import ItemId, ShopItem, ShopItems
from mim_tf.representation import EmbeddingStore
from mim_tf.representation.neighbours import Neighbour, nearest_to, ranks_among_all
from mim_tf.settings import Settings
from mim_tf.training.changed_items import plain_ids
from mim_tf.training.models import load_item_encoder, records_folder
from mim_tf.training.represent import store_path
from mim_tf.workdir import StageFolder

_QUERIES, _RESULTS = 8, 6
_DRAWN_FROM = 200  # pairs; `prepare` has shuffled them


class Query(NamedTuple):
    """A validation pair."""

    photo: bytes  # encoded
    own_item: ItemId | None  # whose picture it is; None for a photo
    chosen: ItemId


def queries_section(settings: Settings, workdir: Path, items: ShopItems) -> Section:
    """Photos of validation pairs, each with the items of the whole store that are nearest to it."""
    records = records_folder(StageFolder(workdir, "prepare"))
    if not RecordSchema.load(records).counts.get(VALIDATION_PAIRS):
        return Section("queries", "What query photos find", [paragraph(_NO_PAIRS)])
    queries = read_queries(records, items)
    store = EmbeddingStore(store_path(settings, workdir))
    vision = load_item_encoder(StageFolder(workdir, "represent"), settings.encoders.precision).vision
    pixels = tf.stack([vision.decode(tf.constant(query.photo)) for query in queries])
    embeddings = vision(pixels, training=False).numpy()
    own = [query.own_item for query in queries]
    found = nearest_to(store, embeddings, _RESULTS, own)
    chosen = np.array([query.chosen for query in queries], items.item_ids.dtype)
    ranks = ranks_among_all(store, embeddings, chosen, own)
    shown = {neighbour.item_id for results in found for neighbour in results} | set(chosen.tolist())
    known, there_are = items.find(shown), len(store)
    rows = [
        _row(query, results, rank, there_are, known) for query, results, rank in zip(queries, found, ranks, strict=True)
    ]
    return Section("queries", "What query photos find", [*_introduction(settings, workdir, there_are), *rows])


_NO_PAIRS = (
    "This run has no validation pairs: they come from data.validation_pairs, or from data.pairs or the purchases after "
    "data.validation_from. So there are no query photos to look at."
)


def read_queries(records: Path, items: ShopItems) -> list[Query]:
    """Validation pairs whose chosen items are of different categories, as far as there are as many."""
    files = RecordFiles.open(records, [VALIDATION_PAIRS], context=None, verify=False)
    parse = RecordParser(files.schema, VALIDATION_PAIRS)
    [pairs] = files.read(0, None).take(_DRAWN_FROM).batch(_DRAWN_FROM).map(parse).as_numpy_iterator()
    chosen, own = (plain_ids(pairs[name]).tolist() for name in ("item_id", "query_item_id"))
    rows = items.rows_of(np.array(chosen, items.item_ids.dtype))
    kept = [int(np.flatnonzero(rows == row)[0]) for row in items.spread(np.unique(rows[rows >= 0]), _QUERIES)]
    return [
        Query(pairs["query_image"][pair], own[pair] if own[pair] not in (-1, "") else None, chosen[pair])
        for pair in kept
    ]


def _introduction(settings: Settings, workdir: Path, items: int) -> list[Html]:
    words = (
        f"Images of validation queries (F_V) against h_MM of all {items:,} items of the store; numbers are cosines. "
        "The item that was chosen has a green frame, with its place among all; it stands first where it is not among "
        f"the {_RESULTS} nearest. A query that is an item's own picture does not meet that item."
    )
    notes = [paragraph(words)]
    is_centred = settings.represent.centre and settings.represent.encoder is None
    if is_centred:
        words = (
            "h_MM is centred here (represent.centre): items are told apart better so, but they are moved away from the "
            "queries that C-SFT compared them with."
        )
        notes.append(paragraph(words))
    csft = StageFolder(workdir, "csft")
    measured = csft.metrics if csft.finished else {}
    recalls = [
        f"recall at {k} {measured[name]:.3f}" for k in (1, 10, 100) if (name := f"held_out_recall_at_{k}") in measured
    ]
    if recalls:
        before = ", before centring" if is_centred else ""
        notes.append(paragraph(f"Over all validation pairs csft measured{before}: {', '.join(recalls)}."))
    return notes


def _row(
    query: Query, results: list[Neighbour], rank: int | None, there_are: int, known: dict[ItemId, ShopItem]
) -> Html:
    own = card(query.photo, "a photo" if query.own_item is None else "a picture of an item", "query", mark="query")
    place = f"chosen, place {rank:,} of {there_are:,}" if rank else "chosen, not in the store"
    cards = [
        item_card(
            item_id,
            known.get(item_id),
            *([place] if item_id == query.chosen else []),
            f"{cosine:.2f}",
            mark="right" if item_id == query.chosen else None,
        )
        for item_id, cosine in results
    ]
    if query.chosen not in [result.item_id for result in results]:
        cards.insert(0, item_card(query.chosen, known.get(query.chosen), place, mark="right"))
    return strip(own, *cards)
