"""The store: what was appended is what is read, in versions, and nothing unfit gets in."""

from pathlib import Path

import numpy as np
import pytest

from mim_tf.errors import StageError
from mim_tf.representation import EmbeddingStore

IDS = np.array([7, 2**60 + 1, -5])
ROWS = np.array([[0.5, 1.0], [0.25, -2.0], [3.0, 4.0]])


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2, slots=1)


def test_rows_come_back_in_the_order_they_were_appended(store: EmbeddingStore) -> None:
    store.upsert(IDS[:2], ROWS[:2], encoder="e1")
    store.upsert(IDS[2:], ROWS[2:], encoder="e1")
    stored = EmbeddingStore(store.path).read()
    np.testing.assert_array_equal(stored.item_ids, IDS)
    np.testing.assert_array_equal(stored.embeddings, ROWS.astype(np.float16))
    assert stored.encoder == "e1"
    assert len(store) == 3


def test_every_commit_is_a_version(store: EmbeddingStore) -> None:
    before = store.version
    store.upsert(IDS, ROWS, encoder="e1")
    assert EmbeddingStore(store.path).version == before + 1


def test_string_ids_stay_strings(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "s", id_type="string", dim=2, slots=1)
    store.upsert(np.array(["a", "ü-1"], dtype=object), ROWS[:2], encoder="e")
    assert list(store.read().item_ids) == ["a", "ü-1"]


@pytest.mark.parametrize(
    ("embeddings", "encoder", "message"),
    [
        (ROWS[:, :1], "e1", r"`embeddings` must have the shape \(3, 2\)\. Received: \(3, 1\)"),
        (ROWS * 1e6, "e1", r"`embeddings` must be finite in float16\. Received: item .*7"),
        (ROWS * np.nan, "e1", r"`embeddings` must be finite"),
        (ROWS, "e2", r"`encoder` must be e1, the one of all rows\. Received: e2"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_what_does_not_fit_is_refused(
    store: EmbeddingStore, embeddings: np.ndarray, encoder: str, message: str
) -> None:
    store.upsert(np.array([1]), ROWS[:1], encoder="e1")
    with pytest.raises(ValueError, match=message):
        store.upsert(IDS, embeddings, encoder=encoder)
    assert len(EmbeddingStore(store.path)) == 1


def test_a_folder_without_a_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"none is no embedding store"):
        EmbeddingStore(tmp_path / "none")


def test_an_empty_store_cannot_be_read(store: EmbeddingStore) -> None:
    with pytest.raises(StageError, match="holds no embeddings"):
        store.read()


def test_an_unknown_id_type_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`id_type` must be one of int64, string\. Received: 'uuid'"):
        EmbeddingStore.create(tmp_path / "s", id_type="uuid", dim=2, slots=1)
