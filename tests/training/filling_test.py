"""What a filling embeds and what it skips, that it goes on where it was interrupted, and its errors."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.record_schema import HELD_OUT_ITEMS, TRAIN_ITEMS, RecordSchema, Shard
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.representation import EmbeddingStore
from mim_tf.training import filling
from mim_tf.training.changed_items import compared_at_once
from mim_tf.training.filling import Filled, fill
from tests.training.toy_items import DIM, Item, embedded_one_by_one, picture, records_of, toy_encoder, toy_items

ROUNDING = 2**-11  # of float16, below 1
KNOWN_AT = 1_743_984_000.5  # 2025-04-07 00:00:00.5 UTC
MARK = np.ones(DIM)  # not what the encoder makes: shows that an embedding was not made again


@pytest.fixture(scope="module")
def encoder() -> ItemEncoder:
    return toy_encoder()


def new_store(folder: Path, id_type: str = "int64") -> EmbeddingStore:
    return EmbeddingStore.create(folder / "store.lance", id_type=id_type, dim=DIM)


def digest(item: Item) -> str:
    """By the words of `content_digest`: the title's length in eight bytes, the title, the image."""
    title = item.title.encode()
    return hashlib.sha256(len(title).to_bytes(8, "big") + title + item.image).hexdigest()[:32]


def filled(store: EmbeddingStore, encoder: ItemEncoder, items: Sequence[Item]) -> Filled:
    sizes = {"total": len(items), "compare_rows": 7, "batch_size": 4, "commit_rows": 8}
    return fill(store, encoder, records_of(items), known_at=KNOWN_AT, **sizes)


def put(
    store: EmbeddingStore,
    encoder: ItemEncoder,
    items: Sequence[Item],
    contents: Sequence[str | None],
    times: Sequence[float] | None = None,
) -> None:
    """What came live, at times in seconds since 1970 UTC, or was committed before an interruption."""
    ids = np.array([item.item_id for item in items], np.int64 if store.id_type == "int64" else object)
    marks = np.tile(MARK, [len(items), 1])
    labels = {"contents": np.array(contents, object)}
    if times is not None:
        labels["event_times"] = np.array([np.datetime64(round(1e6 * time), "us") for time in times])
    store.upsert(ids, marks, encoder=encoder.fingerprint(), **labels)


def held(store: EmbeddingStore, items: Sequence[Item]) -> np.ndarray:
    """Embeddings `[items, dim]` in the store."""
    stored = store.read()
    by_id = dict(zip(stored.item_ids.tolist(), stored.embeddings, strict=True))
    return np.stack([by_id[item.item_id] for item in items])


def test_every_item_gets_its_embedding_and_its_digest(encoder: ItemEncoder, tmp_path: Path) -> None:
    store, items = new_store(tmp_path), toy_items(22)
    before = len(store.versions)
    result = filled(store, encoder, items)
    assert (result.embedded, result.skipped) == (22, 0)
    np.testing.assert_allclose(held(store, items), embedded_one_by_one(encoder, items), atol=2 * ROUNDING)
    labels = store.labels_of(np.array([item.item_id for item in items]))
    assert labels.contents.tolist() == [digest(item) for item in items]
    assert set(labels.event_times) == {np.datetime64("2025-04-07T00:00:00.500")}
    assert store.encoder == encoder.fingerprint()
    assert len(store.versions) - before == 3  # 8, 8 and 6 items


def test_the_sample_is_as_it_came_out_of_the_encoder(encoder: ItemEncoder, tmp_path: Path) -> None:
    items = toy_items(7)
    sample = filled(new_store(tmp_path), encoder, items).sample
    assert sample.dtype == np.float32
    np.testing.assert_allclose(sample, embedded_one_by_one(encoder, items), atol=1e-5)


def test_what_is_known_is_neither_decoded_nor_embedded(encoder: ItemEncoder, tmp_path: Path) -> None:
    store, items = new_store(tmp_path), toy_items(11)
    known = [item._replace(image=b"no image") for item in items[::2]]  # whoever decodes them fails
    items[::2] = known
    put(store, encoder, known, [digest(item) for item in known])
    result = filled(store, encoder, items)
    assert (result.embedded, result.skipped) == (5, 6)
    np.testing.assert_array_equal(held(store, known), np.tile(MARK, [6, 1]))
    new = items[1::2]
    np.testing.assert_allclose(held(store, new), embedded_one_by_one(encoder, new), atol=2 * ROUNDING)


def test_ids_may_be_strings(encoder: ItemEncoder, tmp_path: Path) -> None:
    store = new_store(tmp_path, "string")
    items = [item._replace(item_id=f"ärmel {number}") for number, item in enumerate(toy_items(5))]
    put(store, encoder, items[:2], [digest(item) for item in items[:2]])
    result = filled(store, encoder, items)
    assert (result.embedded, result.skipped) == (3, 2)
    np.testing.assert_array_equal(held(store, items)[:2], np.tile(MARK, [2, 1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda item: item._replace(title=item.title + " red"),
        lambda item: item._replace(image=picture(99)),
        lambda item: item,  # of which the store does not know what its embedding was made from
    ],
    ids=["title", "image", "unknown"],
)
def test_what_changed_is_embedded_again(encoder: ItemEncoder, tmp_path: Path, change: Any) -> None:
    store, items = new_store(tmp_path), toy_items(4)
    was = [digest(item) if change(item) != item else None for item in items[:1]]
    put(store, encoder, items, was + [digest(item) for item in items[1:]])
    items[0] = change(items[0])
    assert filled(store, encoder, items)[:2] == (1, 3)
    np.testing.assert_allclose(held(store, items[:1]), embedded_one_by_one(encoder, items[:1]), atol=2 * ROUNDING)
    assert filled(store, encoder, items)[:2] == (0, 4)


def test_what_is_newer_in_the_store_stays(encoder: ItemEncoder, tmp_path: Path) -> None:
    store, items = new_store(tmp_path), toy_items(3)
    items[0] = items[0]._replace(image=b"no image")  # whoever decodes it fails
    put(store, encoder, items, ["another"] * 3, [KNOWN_AT + 1, KNOWN_AT - 1, KNOWN_AT])
    assert filled(store, encoder, items)[:2] == (2, 1)
    np.testing.assert_array_equal(held(store, items[:1]), [MARK])
    np.testing.assert_allclose(held(store, items[1:]), embedded_one_by_one(encoder, items[1:]), atol=2 * ROUNDING)


@pytest.mark.parametrize(
    ("megabytes", "expected"),
    [(1, 128), (64, 2), (1000, 1), (2**-6, 4096)],  # of a record; the last would be 8,192
)
def test_large_images_are_compared_few_at_once(megabytes: float, expected: int) -> None:
    shards = {name: [Shard(name, 10, int(10 * megabytes * 2**20))] for name in (TRAIN_ITEMS, HELD_OUT_ITEMS)}
    assert compared_at_once(RecordSchema("int64", None, None, {}, shards)) == expected


def test_nothing_to_embed_has_no_sample(encoder: ItemEncoder, tmp_path: Path) -> None:
    store, items = new_store(tmp_path), toy_items(3)
    filled(store, encoder, items)
    version = store.version
    assert len(filled(store, encoder, items).sample) == 0
    assert store.version == version


def test_an_interrupted_filling_goes_on(encoder: ItemEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, items, upsert = new_store(tmp_path), toy_items(20), EmbeddingStore.upsert
    commits: list[int] = []

    def fail_the_second_time(self: EmbeddingStore, item_ids: np.ndarray, *given: Any, **named: Any) -> int:
        commits.append(len(item_ids))
        if len(commits) == 2:
            raise OSError("the disk is full")
        return upsert(self, item_ids, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingStore, "upsert", fail_the_second_time)
        with pytest.raises(OSError, match="the disk is full"):
            filled(store, encoder, items)
    assert len(store) == commits[0] == 8
    assert filled(store, encoder, items)[:2] == (12, 8)
    np.testing.assert_allclose(held(store, items), embedded_one_by_one(encoder, items), atol=2 * ROUNDING)


def test_a_store_that_cannot_be_asked_says_so_itself(
    encoder: ItemEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: EmbeddingStore, item_ids: np.ndarray) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(EmbeddingStore, "labels_of", fail)
    with pytest.raises(OSError, match="no route to host"):
        filled(new_store(tmp_path), encoder, toy_items(3))


def test_an_image_that_does_not_decode_is_told(encoder: ItemEncoder, tmp_path: Path) -> None:
    items = [*toy_items(3), Item(7, "lamp", b"no image")]
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown image file format"):
        filled(new_store(tmp_path), encoder, items)


def test_one_graph_serves_all_batches(encoder: ItemEncoder, tmp_path: Path) -> None:
    filled(new_store(tmp_path), encoder, toy_items(4))
    before = filling._embed.experimental_get_tracing_count()
    filled(new_store(tmp_path / "other"), encoder, toy_items(7))
    filled(new_store(tmp_path / "third"), encoder, toy_items(9))
    assert filling._embed.experimental_get_tracing_count() == before
