"""C-SFT's evaluation against brute force on embeddings that are known, with ids of both kinds."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN_ITEMS, VALIDATION_PAIRS, RecordSchema
from mim_tf.data.record_writer import write_shards
from mim_tf.encoders import text_encoder, vision_encoder, vocabulary_files
from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder
from mim_tf.training import catalogue_embeddings
from mim_tf.training import pair_retrieval as module
from mim_tf.training.catalogue_embeddings import embed_catalogue
from mim_tf.training.pair_retrieval import pair_retrieval
from mim_tf.training.pictures import Shown, retrieval_grid

ITEMS, HELD_OUT, PAIRS = 23, 5, 11
TITLES = ["red", "mug", "lamp", "red mug", "red lamp", "mug lamp"]


class Shop(NamedTuple):
    """What lies in the records: solid colours for images."""

    folder: Path
    colours: np.ndarray  # [ITEMS, 3]
    titles: list[str]
    query_colours: np.ndarray  # [PAIRS, 3]
    chosen: list[int]  # the items' numbers
    own: list[int]  # the items whose pictures the queries are, or -1


def picture(colour: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(file, "png")
    return file.getvalue()


def make_shop(folder: Path, id_type: str, items: int = ITEMS) -> Shop:
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (items, 3))
    titles = [TITLES[number % len(TITLES)] for number in range(items)]
    chosen = [int(number) for number in rng.integers(0, items, PAIRS)]
    own = [int(number) if row % 2 else -1 for row, number in enumerate(rng.integers(0, items, PAIRS))]
    own = [number if number != item else -1 for number, item in zip(own, chosen, strict=True)]
    photos = np.clip(colours[chosen] + rng.integers(-40, 40, (PAIRS, 3)), 0, 255)
    query_colours = np.where(np.array(own)[:, None] >= 0, colours[own], photos)
    ids = [number * 3 if id_type == "int64" else f"item {number}" for number in range(items)]
    no_item = -1 if id_type == "int64" else ""

    def items_of(numbers: range) -> pa.RecordBatch:
        columns = {
            "item_id": [ids[number] for number in numbers],
            "title": [titles[number] for number in numbers],
            "category": ["c"] * len(numbers),
            "image": [picture(colours[number]) for number in numbers],
        }
        return pa.record_batch(columns)

    pairs = pa.record_batch(
        {
            "query_image": [picture(colour) for colour in query_colours],
            "query_item_id": [ids[number] if number >= 0 else no_item for number in own],
            "item_id": [ids[number] for number in chosen],
            "image": [picture(colours[number]) for number in chosen],
            "title": [titles[number] for number in chosen],
            "item_row": pa.array([0] * PAIRS, pa.int64()),
            "chosen_rows": [b""] * PAIRS,
        }
    )
    first_held_out = items - min(HELD_OUT, items - 1)
    batches = {
        TRAIN_ITEMS: items_of(range(first_held_out)),
        HELD_OUT_ITEMS: items_of(range(first_held_out, items)),
        VALIDATION_PAIRS: pairs,
    }
    shards = {
        name: write_shards(folder, name, [rows], total=len(rows), shards=2, progress=lambda *now: None)
        for name, rows in batches.items()
    }
    RecordSchema(id_type, None, None, {name: len(rows) for name, rows in batches.items()}, shards).save(str(folder))
    return Shop(folder, colours, titles, query_colours, chosen, own)


class Known:
    """An item encoder whose embeddings are a few products of colours and titles' lengths."""

    def __init__(self) -> None:
        self.vision, self.text = self, self
        self.items = self  # and what is evaluated

    def decode(self, image: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.cast(tf.io.decode_png(image, channels=3), tf.float32), [16, 16, 3])

    def tokenize(self, titles: tf.Tensor) -> tf.Tensor:
        return tf.strings.length(titles)[:, tf.newaxis]

    def __call__(self, images: tf.Tensor, token_ids: tf.Tensor | None = None, training: bool = False) -> Any:
        image = tf.reduce_mean(images, axis=[1, 2]) - 127.5
        if token_ids is None:
            return image
        text = tf.sin(tf.cast(token_ids, tf.float32) * [1.0, 2.0, 3.0])
        return ItemEmbeddings(image, text, image + 100.0 * text)


def known_embeddings(shop: Shop) -> dict[str, np.ndarray]:
    image = shop.colours - 127.5
    text = np.sin(np.array([[len(title)] for title in shop.titles]) * [1.0, 2.0, 3.0])
    return {"": image + 100 * text, "title_": text, "image_": image}


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def best_items(query: np.ndarray, items: np.ndarray, own: int) -> list[int]:
    """From the most to the least similar, without the query's own."""
    return sorted((item for item in range(len(items)) if item != own), key=lambda item: -cosine(query, items[item]))


def ranks_of(shop: Shop, items: np.ndarray) -> np.ndarray:
    """Each query's rank of the item chosen; items of the same embedding come before it."""
    ranks = []
    for query, chosen, own in zip(shop.query_colours - 127.5, shop.chosen, shop.own, strict=True):
        least = cosine(query, items[chosen]) - 1e-6
        others = (other for other in range(len(items)) if other not in (chosen, own))
        ranks.append(1 + sum(cosine(query, items[other]) >= least for other in others))
    return np.array(ranks)


def toy_encoder() -> ItemEncoder:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "mug", "lamp"]
    text = text_encoder("bert_toy", length=5, dim=4, files=vocabulary_files(vocabulary))
    return ItemEncoder(vision_encoder("vit_toy", image_size=16, dim=4), text, fusion_units=(), dim=4)


@pytest.fixture(params=["int64", "string"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return make_shop(tmp_path / "records", request.param)


@pytest.mark.parametrize("batch_size", [4, 1000])
def test_recall_and_reciprocal_rank_over_the_whole_catalogue(shop: Shop, batch_size: int) -> None:
    evaluation = pair_retrieval(shop.folder, batch_size)(Known())  # type: ignore[arg-type]
    expected = {}
    for level, items in known_embeddings(shop).items():
        ranks = ranks_of(shop, items)
        cutoffs = (10,) if level else (1, 5, 10)  # not 100: there are 23 items
        expected |= {f"{level}recall_at_{cutoff}": np.mean(ranks <= cutoff) for cutoff in cutoffs}
        expected[f"{level}mrr"] = np.mean(1 / ranks)
    assert evaluation.scalars == pytest.approx(expected)
    assert evaluation.score is None
    assert 0 < expected["recall_at_1"] < expected["recall_at_10"] < 1  # or a mix-up would not show
    assert len({expected["mrr"], expected["title_mrr"], expected["image_mrr"]}) == 3


def test_cutoffs_that_nothing_can_miss_are_left_out(tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "records", "int64", items=6)
    scalars = pair_retrieval(shop.folder, 4)(Known()).scalars  # type: ignore[arg-type]
    assert set(scalars) == {"recall_at_1", "recall_at_5", "mrr", "title_mrr", "image_mrr"}


def test_so_many_queries_at_most(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_QUERIES", 3)
    scalars = pair_retrieval(shop.folder, 2)(Known()).scalars  # type: ignore[arg-type]
    first = [0, 2, 4]  # of the first of two files
    assert scalars["mrr"] == pytest.approx(np.mean(1 / ranks_of(shop, known_embeddings(shop)[""])[first]))


def drawn(folder: Path) -> np.ndarray:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    (event,) = events.Tensors("query_to_item")
    return np.asarray(Image.open(io.BytesIO(tf.make_ndarray(event.tensor_proto)[2])))


def test_the_picture_shows_queries_beside_their_best_items(shop: Shop, tmp_path: Path) -> None:
    with tf.summary.create_file_writer(str(tmp_path / "events")).as_default(step=0):
        pair_retrieval(shop.folder, 8)(Known())  # type: ignore[arg-type]
    items = known_embeddings(shop)[""]
    rows = []
    for row in [*range(0, PAIRS, 2), *range(1, PAIRS, 2)][:8]:  # in the order of the two files
        query, chosen = shop.query_colours[row] - 127.5, shop.chosen[row]
        results = [
            Shown(picture(shop.colours[item]), shop.titles[item], cosine(query, items[item]), item == chosen)
            for item in best_items(query, items, shop.own[row])[:5]
        ]
        rows.append((Shown(picture(shop.query_colours[row]), f"chosen: {shop.titles[chosen]}"), results))
    assert any(result.right for _, results in rows for result in results)
    np.testing.assert_array_equal(drawn(tmp_path / "events"), retrieval_grid(rows, direction="query_to_item"))


@pytest.mark.parametrize("batch_size", [5, 64])
def test_the_catalogue_s_embeddings_are_those_of_each_item_alone(tmp_path: Path, batch_size: int) -> None:
    shop = make_shop(tmp_path / "records", "string")
    encoder = toy_encoder()
    embedded = embed_catalogue(encoder, shop.folder, batch_size)
    assert sorted(embedded.item_ids) == sorted(f"item {number}".encode() for number in range(ITEMS))
    for row in range(0, ITEMS, 4):
        number = int(embedded.item_ids[row].split()[1])
        image = np.full((1, 16, 16, 3), shop.colours[number], np.float32)
        alone = encoder(tf.constant(image), encoder.text.tokenize(tf.constant([shop.titles[number]])))
        for found, expected in zip(embedded[1:], alone, strict=True):
            np.testing.assert_allclose(found[row], expected[0], rtol=1e-3, atol=1e-4)


def test_the_weights_of_now_are_measured_by_the_same_graph(tmp_path: Path) -> None:
    shop, encoder = make_shop(tmp_path / "records", "int64"), toy_encoder()
    before = embed_catalogue(encoder, shop.folder, 5)
    graphs = catalogue_embeddings._embed.experimental_get_tracing_count()
    encoder.vision.projection.bias.assign_add([1.0, 2.0, 3.0, 4.0])
    after = embed_catalogue(encoder, shop.folder, 5)
    np.testing.assert_allclose(after.image - before.image, np.tile([1.0, 2.0, 3.0, 4.0], (ITEMS, 1)), rtol=1e-4)
    np.testing.assert_array_equal(after.text, before.text)
    assert catalogue_embeddings._embed.experimental_get_tracing_count() == graphs
