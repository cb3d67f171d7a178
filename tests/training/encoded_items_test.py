"""The click model without the representation center: its encoder in the forward pass, frozen or learning too."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.errors import DataError, SettingsError, StageError
from mim_tf.settings import Settings, dump_settings
from mim_tf.workdir import StageFolder
from tests.training.toy_training import KilledError

pytestmark = [pytest.mark.legacy_keras, pytest.mark.slow]

ITEMS, DIM, LENGTH = 60, 4, 6
# In a process of its own, as stages with Keras 3 are: the upstream stages, and Keras 3's gradient of a loss.
UPSTREAM = """
import json, sys
from pathlib import Path
from mim_tf.settings import load_settings
from mim_tf.training.stages import run_stage
settings, workdir = load_settings(sys.argv[1]), Path(sys.argv[2])
for stage in ("prepare", "pretrain", "csft", "represent"):
    run_stage(stage, settings, workdir, "")
import numpy as np
import tensorflow as tf
from mim_tf.data.records import read_items
from mim_tf.training.models import load_item_encoder
from mim_tf.workdir import StageFolder
encoder = load_item_encoder(StageFolder(workdir, "represent"), "float32")
item = next(iter(read_items(workdir / "prepare" / "records").batch(10)))
images = tf.stack([encoder.vision.decode(image) for image in item["image"]])
variables = [variable.value for variable in encoder.trainable_variables]
with tf.GradientTape() as tape:
    rows = encoder(images, encoder.text.tokenize(item["title"]), training=False).fused
    loss = tf.reduce_sum(rows * tf.range(1.0, 1.0 + rows.shape[1]))
gradients = [tf.convert_to_tensor(part).numpy() for part in tape.gradient(loss, variables)]
np.savez(workdir / "keras_3.npz", item["item_id"], *gradients)
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before `rank` leave, of encoders with random weights."""
    folder = tmp_path_factory.mktemp("encoded")
    make_demo_shop(folder / "shop", items=ITEMS, users=40, days=20, searches=10)
    (folder / "run.yaml").write_text(dump_settings(settings_of(folder)))
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    subprocess.run([sys.executable, "-c", UPSTREAM, folder / "run.yaml", folder], check=True, env=environment)
    return folder


def settings_of(folder: Path, **rank: Any) -> Settings:
    files = {name: str(folder / "shop" / f"{name}.parquet") for name in ("items", "impressions")}
    network = {"ubm": "average", "hash_bins": 64, "tower_units": [8], "item_dim": 4, "category_dim": 2}
    return Settings.model_validate(
        {
            "data": {**files, "validation_from": "2025-01-17", "history_length": LENGTH, "shards": 1},
            "encoders": {
                "vision": {"name": "vit_toy", "image_size": 32},
                "text": {"name": "bert_toy", "length": 8},
                "dim": DIM,
            },
            "pretrain": {"image_text": None},
            "csft": {"epochs": 0},
            "rank": {"batch_size": 32, "epochs": 2, "dropout": 0, **network, **rank},
        }
    )


def encoded_items(workdir: Path, learning: bool = True) -> Any:
    from mim_tf.training.encoded_items import EncodedItems

    return EncodedItems(StageFolder(workdir, "represent"), workdir / "prepare" / "records", learning=learning)


def ranker_of(workdir: Path, embeddings: str) -> Any:
    """Always the same weights."""
    from mim_tf.training.rankers import build_ranker

    tf.keras.utils.set_random_seed(3)
    return build_ranker(settings_of(workdir, embeddings=embeddings), workdir, "model")


def impressions(workdir: Path, split: str = "train") -> dict[str, tf.Tensor]:
    from mim_tf.data.records import read_impressions

    return next(iter(read_impressions(workdir / "prepare" / "records", split, batch_size=32)))


def test_the_rows_are_those_of_the_table(workdir: Path) -> None:
    from mim_tf.training.rankers import load_table

    known = np.random.default_rng(0).choice(encoded_items(workdir)._find._item_ids, 37)
    item_ids = tf.constant([*known, -1, 2**60, -1], tf.int64)
    table, encoded = load_table(settings_of(workdir), workdir), encoded_items(workdir)
    for lookup in (encoded.lookup, tf.function(encoded.lookup)):
        for shape in ([40], [5, 8], [2, 4, 5]):
            ids = tf.reshape(item_ids, shape)
            # Unit vectors, of which the table keeps eleven bits.
            np.testing.assert_allclose(lookup(ids), table.lookup(ids), atol=2**-11)
        np.testing.assert_array_equal(lookup(item_ids)[-3:], np.zeros([3, DIM]))
        assert lookup(tf.fill([2, 3], tf.constant(-1, tf.int64))).shape == [2, 3, DIM]
        assert lookup(tf.zeros([0, 3], tf.int64)).shape == [0, 3, DIM]


def test_a_batch_reads_each_of_its_items_once(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mim_tf.data.catalogue import Catalogue

    read, examples = [], Catalogue.examples
    monkeypatch.setattr(Catalogue, "examples", lambda self, rows: read.extend(rows) or examples(self, rows))
    encoded = encoded_items(workdir)
    first = encoded._find._item_ids[:3]
    encoded.lookup(tf.constant([[*first, *first, -1]] * 5, tf.int64))
    assert len(read) == len(set(read)) == len(first)


@pytest.mark.parametrize("at_once", [256, 4])
def test_the_gradient_is_keras_3s(workdir: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("mim_tf.training.encoded_items._ENCODED_AT_ONCE", at_once)
    item_ids, *expected = np.load(workdir / "keras_3.npz").values()
    encoded = encoded_items(workdir)

    @tf.function
    def gradients(item_ids: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoded.lookup(item_ids) * tf.range(1.0, 1.0 + DIM))
        return tape.gradient(loss, encoded.trainable_variables)

    found = gradients(tf.constant([item_ids[:5], item_ids[5:]]))
    largest = max(np.abs(gradient).max() for gradient in expected)
    assert largest > 0.1
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * largest)


def test_a_ranker_with_the_encoder_ranks_as_one_with_the_table(workdir: Path) -> None:
    batch = impressions(workdir)
    expected = ranker_of(workdir, "table").logits(batch)
    assert np.std(expected) > 0.01
    for embeddings in ("encoder", "end_to_end"):
        logits = tf.function(ranker_of(workdir, embeddings).logits)(batch)
        np.testing.assert_allclose(logits, expected, atol=1e-3)


def test_a_frozen_encoder_stays_and_is_in_no_checkpoint(workdir: Path, tmp_path: Path) -> None:
    from mim_tf.ranking.tfrs_model import RankingModel

    ranker = ranker_of(workdir, "encoder")
    weights = ranker.table._model.learning
    before = [variable.numpy() for variable in weights]
    model = RankingModel(ranker)
    model.compile(optimizer=tf.keras.optimizers.Adam(0.1))
    model.fit(tf.data.Dataset.from_tensors(impressions(workdir)), epochs=2, verbose=0)
    for variable, value in zip(weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert len(model.trainable_variables) == len(ranker.network.trainable_variables)
    saved = tf.train.list_variables(ranker.checkpoint().write(str(tmp_path / "frozen")))
    assert not any(name.startswith("encoder/") for name, _ in saved)


def test_an_encoder_learns_another_ones_taste(workdir: Path) -> None:
    """The clicks are those of another encoder. The network's rate is zero: what the loss falls by is the encoder's."""
    from mim_tf.ranking.end_to_end_model import EndToEndModel

    ranker, batch, random = ranker_of(workdir, "end_to_end"), impressions(workdir), np.random.default_rng(0)
    encoder = [variable.numpy() for variable in ranker.table.weights]
    for variable in ranker.table.weights:
        variable.assign_add(random.normal(scale=0.3 * np.std(variable) + 1e-3, size=variable.shape))
    clicks = ranker.probabilities(batch).numpy()
    least = -np.mean(clicks * np.log(clicks) + (1 - clicks) * np.log(1 - clicks))  # no loss is below their entropy
    for variable, value in zip(ranker.table.weights, encoder, strict=True):
        variable.assign(value)

    network = [variable.numpy() for variable in ranker.network.trainable_variables]
    model = EndToEndModel(ranker)
    model.compile(tf.keras.optimizers.SGD(0.0), tf.keras.optimizers.Adam(0.01))
    batches = tf.data.Dataset.from_tensors({**batch, "label": tf.constant(clicks)})
    losses = np.array(model.fit(batches, epochs=12, verbose=0).history["loss"])
    assert losses[0] - least > 0.03
    assert losses[-1] - least < 0.2 * (losses[0] - least)
    for variable, value in zip(ranker.network.trainable_variables, network, strict=True):
        np.testing.assert_array_equal(variable, value)
    moved = [np.abs(variable - value).max() for variable, value in zip(model.encoder_weights, encoder, strict=True)]
    assert np.mean(np.array(moved) > 1e-3) > 0.9


def test_two_replicas_do_what_one_does(workdir: Path, tmp_path: Path) -> None:
    for devices in (1, 2):
        script = [sys.executable, "-m", "tests.training.encoded_replicas"]
        command = [*script, str(workdir), str(devices), str(tmp_path / f"{devices}.npz")]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    one, two = (np.load(tmp_path / f"{devices}.npz") for devices in (1, 2))
    start = [variable.numpy() for variable in encoded_items(workdir).trainable_variables]
    assert len(one) == len(two) > len(start)
    for name in one:
        # Adam makes a step of full size of a gradient that is nothing but rounding.
        np.testing.assert_allclose(two[name], one[name], atol=1e-2)
        assert np.mean(np.abs(two[name] - one[name]) > 1e-4) < 0.05, name


def test_a_model_whose_table_does_not_learn_is_refused(workdir: Path) -> None:
    from mim_tf.ranking.end_to_end_model import EndToEndModel

    for embeddings in ("table", "encoder"):
        with pytest.raises(ValueError, match="`ranker` must have a table that learns"):
            EndToEndModel(ranker_of(workdir, embeddings))


def test_an_end_to_end_training_that_was_killed_ends_as_one_that_was_not(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mim_tf.data.records import read_impressions
    from mim_tf.training import rank, rank_fit
    from mim_tf.training.rank_input import EpochPlan

    settings = settings_of(workdir, embeddings="end_to_end", encoder_learning_rate=0.01, schedule="linear")
    batches = read_impressions(workdir / "prepare" / "records", "train", batch_size=32).take(5).repeat()
    monkeypatch.setattr(rank_fit, "distributed_impressions", lambda *_: batches)  # another order would give another end
    monkeypatch.setattr(EpochPlan, "under", lambda *_: EpochPlan(rows=32, steps=5))
    whole, killed = borrowed(workdir, tmp_path / "whole"), borrowed(workdir, tmp_path / "killed")
    metrics = rank.run(settings, whole)

    measure, measured = rank._measured, []

    def die_the_second_time(*arguments: Any) -> dict[str, float]:
        measured.append(arguments)
        if len(measured) == 2:
            raise KilledError
        return measure(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(rank, "_measured", die_the_second_time)
        with pytest.raises(KilledError):
            rank.run(settings, killed)
    assert "continues" not in capsys.readouterr().err
    continued = rank.run(settings, killed)
    assert f"model-0: continues at epoch 1 of {settings.rank.epochs}\n" in capsys.readouterr().err
    for name in ("auc", "log_loss"):
        np.testing.assert_allclose(continued[name], metrics[name], rtol=1e-4, err_msg=name)

    loaded = rank.load_ranker(settings, whole, "model")
    of_loaded = rank._measured(rank._scored(loaded, settings, whole))
    np.testing.assert_allclose(of_loaded["auc"], metrics["auc"], rtol=1e-6)
    start = encoded_items(workdir).trainable_variables
    assert max(np.abs(one - other).max() for one, other in zip(loaded.table.weights, start, strict=True)) > 1e-3


def borrowed(workdir: Path, folder: Path) -> Path:
    """A workdir that borrows what came before."""
    folder.mkdir()
    for stage in ("prepare", "represent"):
        (folder / stage).symlink_to(workdir / stage)
    return folder


def test_an_encoder_of_an_earlier_release_is_missing(workdir: Path, tmp_path: Path) -> None:
    from mim_tf.training.rankers import build_ranker

    (tmp_path / "represent").mkdir()
    (tmp_path / "prepare").symlink_to(workdir / "prepare")
    with pytest.raises(StageError, match=r"item_encoder_model is missing\. Delete .*represent and run the stage again"):
        build_ranker(settings_of(workdir, embeddings="encoder"), tmp_path, "model")
    build_ranker(settings_of(workdir, embeddings="encoder"), tmp_path, "base")  # without content, without encoder


def test_damaged_records_are_named(workdir: Path, tmp_path: Path) -> None:
    from mim_tf.training.encoded_items import EncodedItems

    (tmp_path / "records").mkdir()
    schema = json.loads((workdir / "prepare" / "records" / "schema.json").read_text())
    (tmp_path / "records" / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(DataError, match="items/train"):
        EncodedItems(StageFolder(workdir, "represent"), tmp_path / "records", learning=False)


def test_an_encoder_is_not_exported(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mim_tf.export.__main__ import main

    arguments = ["export", "--config", str(workdir / "run.yaml"), "--workdir", str(workdir), "--to", str(workdir)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--set", "rank.embeddings=encoder"])
    with pytest.raises(SettingsError, match=r"`rank\.embeddings` must be table for an export.*Received: encoder"):
        main()
