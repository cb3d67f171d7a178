"""What is published of a run: folders, numbers, tags, and the same scores where our code is not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from mim_tf.errors import ExportError, SettingsError
from mim_tf.representation import EmbeddingStore
from mim_tf.settings import Settings
from tests.export.toy_run import PADDING, expected, impressions, make_run
from tests.training.toy_ranking import DIM, ITEMS

pytestmark = pytest.mark.legacy_keras
# Every model that is published passes its gate, in processes of its own: here three models.
SLOW = {id_type: pytest.param(id_type, marks=pytest.mark.slow) for id_type in sorted(PADDING)}
of_integers = pytest.mark.parametrize("run", [SLOW["int64"]], indirect=True)

# Asks all shards for all items: where a shard does not know one, its vector is zero.
IN_ANOTHER_PROCESS = """
import pathlib, sys
for name in ("mim_tf", "tf_keras", "tensorflow_recommenders", "keras_nlp", "tensorflow_text"):
    sys.modules[name] = None  # importing it fails
import numpy, tensorflow as tf
rows = {name: tf.constant(column) for name, column in numpy.load(sys.argv[1]).items()}
def load(*parts):
    return tf.saved_model.load(str(pathlib.Path(sys.argv[2]).joinpath(*parts))).signatures
baked = load("baked", "ranker", "1")
numpy.save(sys.argv[3] + "/baked.npy", baked["predict"](**rows)["probability"])
tables = [load("apart", f"ranker_table_{shard}", "2") for shard in range(2)]
for name in ("item", "history"):
    ids = rows["item_id" if name == "item" else "history_item_id"]
    found = [table["lookup"](item_id=tf.reshape(ids, [-1]))["embedding"] for table in tables]
    rows[name + "_content"] = tf.reshape(tf.add_n(found), [*ids.shape, found[0].shape[1]])
numpy.save(sys.argv[3] + "/apart.npy", load("apart", "ranker", "2")["predict"](**rows)["probability"])
"""


@pytest.fixture(scope="module", params=SLOW.values())
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path, str]:
    """A run with a ranker and its shards published, as versions 1 and 2."""
    from mim_tf.export.publication import publish_ranker, publish_shards

    folder = tmp_path_factory.mktemp(request.param)
    settings = make_run(folder, request.param)
    assert publish_ranker(settings, folder, folder / "baked") == folder / "baked" / "ranker" / "1"
    published = publish_shards(settings, folder, folder / "apart", 2, network=True)
    names = ["ranker_table_0", "ranker_table_1", "ranker"]
    assert published == [folder / "apart" / name / "2" for name in names]  # above all that are tagged
    assert sorted(path.name for path in (folder / "apart").iterdir() if path.is_dir()) == sorted(names)
    return settings, folder, request.param


def test_a_table_is_published_warmed_up_and_tagged(tmp_path: Path) -> None:
    """The quick one: a table goes the way of every model to its folder."""
    import tensorflow as tf

    from mim_tf.export.publication import publish_shards

    settings = make_run(tmp_path, "int64")
    [table] = publish_shards(settings, tmp_path, tmp_path / "models", 1, network=False)
    assert table == tmp_path / "models" / "ranker_table_0" / "1"
    assert store_of(tmp_path).tags == {"ranker-1": store_of(tmp_path).version}
    signatures = tf.saved_model.load(str(table)).signatures
    item_ids = parquet.read_table(tmp_path / "shop" / "items.parquet")["item_id"].to_numpy()
    found = signatures["lookup"](item_id=tf.constant(item_ids))["embedding"]
    drawn = np.random.default_rng(0).normal(size=(ITEMS, DIM))  # as `make_run` does
    np.testing.assert_allclose(found, drawn, rtol=2**-11, atol=2**-24)  # float16
    assert {request.model_spec.signature_name for request in warm_up_requests(table)} == set(signatures)
    told = json.loads((table / "assets.extra" / "provenance.json").read_text())
    assert told["gate"]["passed"][:4] == ["sizes", "cases", "stock ops", "reload"]


def warm_up_requests(model: Path) -> list[Any]:
    """What a server asks a model before it serves it."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    records = tf.data.TFRecordDataset(str(model / "assets.extra" / "tf_serving_warmup_requests"))
    return [PredictionLog.FromString(record).predict_log.request for record in records.as_numpy_iterator()]


def test_a_process_with_tensorflow_alone_gives_the_training_models_numbers(
    run: tuple[Settings, Path, str], tmp_path: Path
) -> None:
    settings, folder, id_type = run
    rows = impressions(folder, id_type)
    plain = {name: column.astype(bytes) if column.dtype == object else column for name, column in rows.items()}
    np.savez(tmp_path / "rows.npz", **plain)
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, tmp_path / "rows.npz", folder, tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    trained = expected(settings, folder, rows)
    for kind in ("baked", "apart"):
        np.testing.assert_allclose(np.load(tmp_path / f"{kind}.npy"), trained, rtol=0, atol=1e-6)


def store_of(folder: Path) -> EmbeddingStore:
    return EmbeddingStore(folder / "represent" / "store.lance")


@of_integers
def test_what_a_restarted_server_catches_up_from_is_kept(run: tuple[Settings, Path, str]) -> None:
    from mim_tf.export.publication import publish_shards

    settings, folder, _ = run
    store = store_of(folder)
    exported = store.tags["ranker-1"]
    assert store.tags == {"ranker-1": exported, "ranker-2": exported}
    ids = store.read().item_ids[:3]
    for step in range(3):
        store.upsert(ids, np.full([3, 4], step), encoder="random")
    store.compact(keep_versions=1)
    assert sorted(store.changes(exported).item_ids) == sorted(ids)

    # The newest version is what is exported next, with the tables alone and with another number of them.
    published = publish_shards(settings, folder, folder / "apart", 3, network=False)
    assert published == [folder / "apart" / f"ranker_table_{shard}" / "3" for shard in range(3)]
    assert not (folder / "apart" / "ranker" / "3").exists()
    assert store.tags["ranker-3"] == store.version


@of_integers
def test_what_fails_leaves_neither_folders_nor_a_tag(
    run: tuple[Settings, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mim_tf.export import publication

    settings, folder, _ = run
    before, save = store_of(folder).tags, publication.save_table

    def save_first(table: Any, stored: Any, folder: Path) -> None:
        if stored.part.number:
            raise OSError("disk full")
        save(table, stored, folder)

    monkeypatch.setattr(publication, "save_table", save_first)
    with pytest.raises(OSError, match="disk full"):
        publication.publish_shards(settings, folder, tmp_path, 2, network=False)
    assert not [path for path in tmp_path.glob("*/*") if path.name.isdecimal()]
    assert store_of(folder).tags == before


@of_integers
def test_a_model_that_answers_otherwise_is_not_published(
    run: tuple[Settings, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where what is saved is not what was trained: here, one weight of the tower differs."""
    from mim_tf.export import publication

    settings, folder, _ = run
    before, save = store_of(folder).tags, publication.save_ranker

    def save_changed(ranker: Any, *arguments: Any, **options: Any) -> None:
        weight = ranker.network.trainable_variables[-1]
        weight.assign_add([1.0])
        save(ranker, *arguments, **options)
        weight.assign_sub([1.0])

    monkeypatch.setattr(publication, "save_ranker", save_changed)
    with pytest.raises(
        ExportError, match=r"(?s)must not be published:.*reload: case 1, predict\.probability: differs by"
    ):
        publication.publish_ranker(settings, folder, tmp_path)
    assert not [path for path in tmp_path.glob("*/*") if path.name.isdecimal()]
    assert store_of(folder).tags == before


@pytest.mark.parametrize("model", ["baked/ranker/1", "apart/ranker/2", "apart/ranker_table_1/2"])
def test_every_signature_is_warmed_up_and_every_model_says_what_it_came_from(
    run: tuple[Settings, Path, str], model: str
) -> None:
    import tensorflow as tf

    _, folder, _ = run
    requests = warm_up_requests(folder / model)
    signatures = tf.saved_model.load(str(folder / model)).signatures
    assert {request.model_spec.signature_name for request in requests} == set(signatures)
    assert {request.model_spec.name for request in requests} == {model.split("/")[1]}
    told = json.loads((folder / model / "assets.extra" / "provenance.json").read_text())
    assert told["embeddings"]["store"] == store_of(folder).identity
    assert told["settings"]["rank"]["ubm"]
    assert "realtime" not in told["settings"]  # may hold passwords
    assert told["gate"]["passed"][:4] == ["sizes", "cases", "stock ops", "reload"]
    assert not told["gate"]["untested"]


@of_integers
@pytest.mark.parametrize("taken", ["ranker_table_0", "ranker_table_1", "ranker"])
def test_a_part_that_cannot_appear_keeps_the_others_away(
    run: tuple[Settings, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """As when somebody else's export took the version's name meanwhile."""
    from mim_tf.export import publication

    settings, folder, _ = run
    before, save = store_of(folder).tags, publication.save_ranker

    def save_and_take(*arguments: Any, **options: Any) -> None:
        save(*arguments, **options)
        (tmp_path / taken / str(len(before) + 1) / "variables").mkdir(parents=True)

    monkeypatch.setattr(publication, "save_ranker", save_and_take)
    with pytest.raises(OSError, match="not empty"):
        publication.publish_shards(settings, folder, tmp_path, 2, network=True)
    numbered = [path for path in tmp_path.glob("*/*") if path.name.isdecimal()]
    assert numbered == [tmp_path / taken / str(len(before) + 1)]
    assert [path.name for path in numbered[0].iterdir()] == ["variables"]
    assert store_of(folder).tags == before


@of_integers
def test_what_cannot_be_sharded_is_refused(run: tuple[Settings, Path, str], tmp_path: Path) -> None:
    from mim_tf.export.publication import publish_shards

    settings, folder, _ = run
    for count in (0, 8):
        with pytest.raises(SettingsError, match=rf"--shards: `total` .* must be 1 to 7, .*slots\. Received: {count}\."):
            publish_shards(settings, folder, tmp_path, count, network=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("network", [True, False])
def test_a_network_without_content(tmp_path: Path, network: bool) -> None:
    """It has no table inside, and none is read beside it; the store's tables can be had all the same."""
    import tensorflow as tf

    from mim_tf.export.publication import publish_ranker, publish_shards

    settings = make_run(tmp_path, "int64", content=False, fusion=False)
    model = tf.saved_model.load(str(publish_ranker(settings, tmp_path, tmp_path / "models")))
    assert sorted(model.signatures) == ["predict", "predict_ragged", "rank", "rank_ragged", "serving_default"]
    assert store_of(tmp_path).tags == {}
    if network:
        with pytest.raises(SettingsError, match=r"--shards: one of `rank\.content`, .* must be on"):
            publish_shards(settings, tmp_path, tmp_path / "models", 2, network=True)
    else:
        assert len(publish_shards(settings, tmp_path, tmp_path / "models", 2, network=False)) == 2
