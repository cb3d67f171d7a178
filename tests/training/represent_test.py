"""The stage `represent`: next week's run of a grown catalogue, where the store is, and what is refused."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mim_tf.errors import SettingsError, StageError
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from mim_tf.training import prepare, represent
from mim_tf.training.models import item_encoder_folder, load_item_encoder, save_item_encoder
from mim_tf.training.stages import run_stage
from mim_tf.workdir import StageFolder
from tests.training.toy_items import DIM, Item, embedded_one_by_one, picture, toy_encoder, toy_items

pytestmark = pytest.mark.slow

ITEMS = 20


@pytest.fixture(scope="module")
def encoder() -> ItemEncoder:
    return toy_encoder()


def write_catalogue(items: Sequence[Item], file: Path) -> Path:
    columns = {name: [getattr(item, name) for item in items] for name in Item._fields}
    pq.write_table(pa.table(columns | {"category": ["c"] * len(items)}), file)
    return file


def settings_of(catalogue: Path, dim: int = DIM, **options: Any) -> Settings:
    return Settings.model_validate(
        {
            "data": {"items": str(catalogue), "shards": 2, "held_out": 0},
            "encoders": {"dim": dim},
            "represent": {"batch_size": 8, "commit_rows": 8, **options},
        }
    )


def prepared(folder: Path, settings: Settings) -> Path:
    """A workdir with records."""
    with StageFolder(folder, "prepare").begin(settings):
        StageFolder(folder, "prepare").finish(prepare.run(settings, folder))
    return folder


def tuned(folder: Path, settings: Settings, encoder: ItemEncoder) -> Path:
    """A workdir with records and what `pretrain` and `csft` leave."""
    prepared(folder, settings)
    for stage in ("pretrain", "csft"):
        with StageFolder(folder, stage).begin(settings):
            StageFolder(folder, stage).finish({"seconds": 1.0})
    save_item_encoder(StageFolder(folder, "csft"), encoder)
    return folder


@pytest.fixture(scope="module")
def first_week(tmp_path_factory: pytest.TempPathFactory, encoder: ItemEncoder) -> Path:
    """A run whose store lies beside its workdir `W`."""
    folder = tmp_path_factory.mktemp("first")
    settings = settings_of(write_catalogue(toy_items(ITEMS), folder / "items.parquet"), store=str(folder / "store"))
    run_stage("represent", settings, tuned(folder / "W", settings, encoder), "")
    return folder


def metrics_of(workdir: Path) -> dict[str, float]:
    return StageFolder(workdir, "represent").metrics


def encoder_of(workdir: Path) -> ItemEncoder:
    return load_item_encoder(StageFolder(workdir, "represent"), "float32")


def by_id(store: EmbeddingStore) -> dict[int, np.ndarray]:
    stored = store.read()
    return dict(zip(stored.item_ids.tolist(), stored.embeddings, strict=True))


def test_all_of_a_new_catalogue_is_embedded_around_its_mean(first_week: Path) -> None:
    metrics, items = metrics_of(first_week / "W"), toy_items(ITEMS)
    assert (metrics["items"], metrics["embedded"], metrics["skipped"], metrics["dim"]) == (ITEMS, ITEMS, 0, DIM)
    rows = embedded_one_by_one(encoder_of(first_week / "W"), items)
    stored = by_id(EmbeddingStore(first_week / "store"))
    np.testing.assert_allclose([stored[item.item_id] for item in items], rows, atol=1e-3)
    centred = encoder_of(first_week / "W").fusion.out.bias.numpy()
    assert (
        np.abs(centred - load_item_encoder(StageFolder(first_week / "W", "csft"), "float32").fusion.out.bias).max() > 0
    )


def test_what_the_precisions_cost_is_measured(first_week: Path) -> None:
    metrics = metrics_of(first_week / "W")
    rows = embedded_one_by_one(encoder_of(first_week / "W"), toy_items(ITEMS)).astype(np.float64)
    scales = np.abs(rows).max(axis=1, keepdims=True) / 127
    for dtype, kept in (("float16", rows.astype(np.float16)), ("int8", np.round(rows / scales) * scales)):
        kept = kept.astype(np.float64)
        cosines = np.sum(rows * kept, axis=1) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(kept, axis=1))
        # Embedded in a batch, a row differs in its last bits, and so does what is rounded.
        assert metrics[f"cosine_error_{dtype}"] == pytest.approx(np.mean(1 - cosines), rel=0.05)
    assert metrics["cosine_error_int8"] > 10 * metrics["cosine_error_float16"] > 0


@pytest.fixture(scope="module")
def second_week(first_week: Path) -> Path:
    """The catalogue has grown by four items, two others have changed, one is gone; `W2` knows no encoder of its own."""
    items = toy_items(ITEMS + 4)[1:]
    items[0], items[1] = items[0]._replace(title="lamp lamp"), items[1]._replace(image=picture(999))
    options = {
        "store": str(first_week / "store"),
        "encoder": str(item_encoder_folder(StageFolder(first_week / "W", "represent"))),
    }
    settings = settings_of(write_catalogue(items, first_week / "grown.parquet"), **options)
    run_stage("represent", settings, prepared(first_week / "W2", settings), "")
    return first_week


def test_next_week_embeds_what_is_new_or_changed(second_week: Path) -> None:
    metrics = metrics_of(second_week / "W2")
    assert (metrics["embedded"], metrics["skipped"], metrics["items"]) == (6, ITEMS - 3, ITEMS + 4)
    store = EmbeddingStore(second_week / "store")
    assert metrics["store_version"] == store.version > metrics_of(second_week / "W")["store_version"]


def test_an_earlier_encoder_stays_as_it_is(second_week: Path) -> None:
    first, second = encoder_of(second_week / "W"), encoder_of(second_week / "W2")
    assert first.fingerprint() == second.fingerprint()
    changed = toy_items(2)[1]._replace(title="lamp lamp")
    stored = by_id(EmbeddingStore(second_week / "store"))
    np.testing.assert_allclose(stored[changed.item_id], embedded_one_by_one(first, [changed])[0], atol=1e-3)
    assert not (second_week / "W2" / "csft").exists()


def test_a_week_without_news_embeds_nothing(second_week: Path) -> None:
    settings = Settings.model_validate(
        json.loads(settings_of(second_week / "grown.parquet").model_dump_json())
        | {
            "represent": {
                "store": str(second_week / "store"),
                "encoder": str(second_week / "W2/represent/item_encoder"),
            }
        }
    )
    version = EmbeddingStore(second_week / "store").version
    run_stage("represent", settings, prepared(second_week / "W3", settings), "")
    metrics = metrics_of(second_week / "W3")
    assert (metrics["embedded"], metrics["skipped"], metrics["store_version"]) == (0, ITEMS + 3, version)
    assert metrics["items_per_second"] == 0
    assert metrics["cosine_error_int8"] > 0  # measured nevertheless


def test_another_encoders_store_is_refused_and_settings_can_be_mended(second_week: Path, tmp_path: Path) -> None:
    store, catalogue = EmbeddingStore(second_week / "store"), second_week / "items.parquet"
    settings = settings_of(catalogue, store=store.path, centre=False)
    other = toy_encoder()
    workdir = tuned(tmp_path / "W", settings, other)
    with pytest.raises(
        StageError,
        match=rf"{re.escape(store.path)} must hold embeddings of this run's encoder, {other.fingerprint()}\. Received: "
        rf"of {store.encoder}\. Give `represent\.store` another place, or as `represent\.encoder`",
    ):
        run_stage("represent", settings, workdir, "")
    run_stage("represent", settings_of(catalogue, store=str(tmp_path / "mine"), centre=False), workdir, "")
    assert EmbeddingStore(tmp_path / "mine").encoder == other.fingerprint()


def test_a_store_lies_in_the_workdir_unless_told_otherwise(tmp_path: Path, encoder: ItemEncoder) -> None:
    settings = settings_of(write_catalogue(toy_items(3), tmp_path / "items.parquet"))
    run_stage("represent", settings, tuned(tmp_path / "W", settings, encoder), "")
    assert represent.store_path(settings, tmp_path / "W") == str(tmp_path / "W" / "represent" / "store.lance")
    assert len(EmbeddingStore(represent.store_path(settings, tmp_path / "W"))) == 3


def test_a_store_at_a_uri_is_made_there_and_used_again(tmp_path: Path, encoder: ItemEncoder) -> None:
    uri, catalogue = f"file://{tmp_path}/far/store", write_catalogue(toy_items(3), tmp_path / "items.parquet")
    settings = settings_of(catalogue, store=uri, centre=False)
    for workdir, embedded in (("W", 3), ("W2", 0)):
        run_stage("represent", settings, tuned(tmp_path / workdir, settings, encoder), "")
        assert metrics_of(tmp_path / workdir)["embedded"] == embedded
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["store"]


def test_a_uri_that_is_no_store_says_why(tmp_path: Path, encoder: ItemEncoder) -> None:
    catalogue = write_catalogue(toy_items(3), tmp_path / "items.parquet")
    settings = settings_of(catalogue, store=f"file://{catalogue}/store")
    with pytest.raises(
        StageError, match=r"is no embedding store that can be opened: .* cannot be made an embedding store"
    ):
        run_stage("represent", settings, tuned(tmp_path / "W", settings, encoder), "")


def test_a_store_of_another_dimension_is_refused(tmp_path: Path, encoder: ItemEncoder) -> None:
    EmbeddingStore.create(tmp_path / "store", id_type="string", dim=7)
    catalogue = write_catalogue(toy_items(3), tmp_path / "items.parquet")
    settings = settings_of(catalogue, store=str(tmp_path / "store"))
    with pytest.raises(StageError, match=r"must hold 4 numbers for each int64 id.* a store of 7 for each string id"):
        run_stage("represent", settings, tuned(tmp_path / "W", settings, encoder), "")


@pytest.mark.parametrize(
    ("dim", "folder", "message"),
    [
        (DIM, "represent", r"`represent\.encoder` must be an item encoder's folder, as .*item_encoder\.json"),
        (7, "represent/item_encoder", r"`encoders\.dim` must be 4, that of `represent\.encoder`\. Received: 7\."),
    ],
)
def test_an_encoder_that_cannot_be_used_is_a_wrong_setting(
    first_week: Path, tmp_path: Path, dim: int, folder: str, message: str
) -> None:
    settings = settings_of(first_week / "items.parquet", dim, encoder=str(first_week / "W" / folder))
    with pytest.raises(SettingsError, match=message):
        run_stage("represent", settings, prepared(tmp_path / "W", settings), "")


def test_without_an_earlier_encoder_csft_is_needed(first_week: Path, tmp_path: Path) -> None:
    settings = settings_of(first_week / "items.parquet")
    with pytest.raises(StageError, match="pretrain is not finished"):
        run_stage("represent", settings, prepared(tmp_path / "W", settings), "")
