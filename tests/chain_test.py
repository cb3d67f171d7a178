"""The whole chain by its commands on a tiny drawn shop: killed, continued, repeated, exported, served."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mim_tf.data.demo_shop import make_demo_shop

pytestmark = [pytest.mark.legacy_keras, pytest.mark.slow]

CONFIG = """\
data:
  items: {shop}/items.parquet
  impressions: {shop}/impressions.parquet
  validation_from: 2025-01-17
  item_features: [first_seen]
  first_seen: first_seen
  history_length: 8
  shards: 2
encoders:
  vision: {{name: vit_toy, image_size: 32}}
  text: {{name: bert_toy, length: 8}}
  dim: 8
pretrain:
  image_text: {{epochs: 80, batch_size: 30}}
csft: {{epochs: 1, batch_size: 16}}
rank:
  epochs: 2
  batch_size: 64
  hash_bins: 256
  tower_units: [8]
  features:
    first_seen: {{kind: vocabulary, size: 10, dim: 2}}
    user_id: {{kind: hashed, bins: 64, dim: 2}}
    item_age: {{kind: bucketised, buckets: 4, dim: 2}}
"""


class Chain:
    """One workdir and the commands that work on it."""

    def __init__(self, folder: Path):
        self.workdir, self.models = folder / "work", folder / "models"
        self.config = folder / "run.yaml"
        make_demo_shop(folder / "shop", items=60, users=60, days=20, searches=10)
        self.config.write_text(CONFIG.format(shop=folder / "shop"))

    def command(self, module: str, *arguments: str) -> list[str]:
        run = ["--config", str(self.config), "--workdir", str(self.workdir)]
        return [sys.executable, "-m", f"mim_tf.{module}", *run, *arguments]

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(module, *arguments), capture_output=True, text=True, check=False, env=ENV)

    def metrics(self, stage: str) -> dict[str, float]:
        return json.loads((self.workdir / stage / "metrics.json").read_text())

    def files(self) -> dict[Path, float]:
        """When each file of the workdir was last written."""
        return {path: path.stat().st_mtime for path in self.workdir.rglob("*") if path.is_file()}


# The commands choose their Keras themselves; TensorFlow's chatter would hide theirs.
ENV = {name: value for name, value in os.environ.items() if name not in ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL")}


def kill_when(condition: Callable[[], bool], command: list[str]) -> None:
    """Start a command and kill it, as kill -9 does, once the condition holds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)
    end = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait()


def tf_events(file: Path) -> list[Any]:
    """The losses per epoch in an event file."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(file), size_guidance={"tensors": 0})  # all of them
    events.Reload()
    return events.Tensors("epoch_loss")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A finished run that was killed in the middle of pre-training and started again."""
    chain = Chain(tmp_path_factory.mktemp("chain"))
    everything = chain.command("train", "--stage", "all")
    checkpoint = chain.workdir / "pretrain" / "checkpoints" / "image_text" / "checkpoint"
    kill_when(checkpoint.exists, everything)
    assert not (chain.workdir / "pretrain" / "metrics.json").exists()

    again = subprocess.run(everything, capture_output=True, text=True, check=False, env=ENV)
    assert again.returncode == 0, again.stderr
    assert "prepare: finished already" in again.stdout
    return chain


@pytest.fixture(scope="module")
def exported(chain: Chain) -> Path:
    run = chain.run("export", "--to", str(chain.models))
    assert run.returncode == 0, run.stderr
    return Path(run.stdout.strip())


@pytest.fixture(scope="module")
def rows(chain: Chain) -> dict[str, np.ndarray]:
    """Some validation impressions, an unknown item and an empty history among them."""
    from mim_tf.data.records import read_impressions

    batch = next(iter(read_impressions(chain.workdir / "prepare" / "records", "validation", batch_size=32)))
    labels = {"label"}  # all else is an input of the model, features included
    rows = {name: column.numpy() for name, column in batch.items() if name not in labels}
    rows["item_id"][0] = 2**60
    rows["history_item_id"][1], rows["history_category"][1] = -1, b""
    return rows


@pytest.fixture(scope="module")
def trained(chain: Chain, rows: dict[str, np.ndarray]) -> np.ndarray:
    """The training model's probabilities of the rows."""
    import tensorflow as tf

    from mim_tf.settings import load_settings
    from mim_tf.training.rank import load_ranker

    ranker = load_ranker(load_settings(chain.config), chain.workdir, "model")
    return ranker.probabilities({name: tf.constant(column) for name, column in rows.items()}).numpy()


def test_every_stage_leaves_its_metrics_and_its_event_files(chain: Chain) -> None:
    rank = chain.metrics("rank")
    names = {"auc", "grouped_auc", "log_loss"}
    assert names | {f"{name}_base" for name in names} | {f"{name}_gain" for name in names} <= set(rank)
    assert 0 < rank["auc"] < 1
    represent = chain.metrics("represent")
    assert (represent["items"], represent["embedded"], represent["skipped"]) == (60, 60, 0)
    assert rank["store_version"] == rank["store_version_first"] == represent["store_version"]
    for stage in ("pretrain", "csft", "represent", "rank"):
        assert list((chain.workdir / stage / "tensorboard").rglob("events.*")), stage


def test_a_killed_ranking_continues_after_its_last_epoch(chain: Chain, tmp_path: Path) -> None:
    for stage in ("prepare", "represent", "pretrain", "csft"):
        shutil.copytree(chain.workdir / stage, tmp_path / stage)
    epochs = 12
    command = chain.command("train", "--stage", "rank", "--workdir", str(tmp_path), "--set", f"rank.epochs={epochs}")
    backup = tmp_path / "rank" / "checkpoints" / "model-0-backup"
    kill_when(lambda: any(backup.rglob("checkpoint")), command)  # TensorFlow writes that file after the checkpoint
    assert not (tmp_path / "rank" / "metrics.json").exists()
    assert subprocess.run(command, capture_output=True, check=False, env=ENV).returncode == 0

    runs = sorted((tmp_path / "rank" / "tensorboard" / "model-0" / "train").iterdir())
    steps = [event.step for event in tf_events(runs[-1])]
    assert steps == list(range(steps[0], epochs))
    assert steps[0] > 0


def test_an_interrupted_represent_continues_after_its_last_commit(chain: Chain, tmp_path: Path) -> None:
    from mim_tf.representation import EmbeddingStore

    whole = EmbeddingStore(chain.workdir / "represent" / "store.lance").read()
    shutil.copytree(chain.workdir, tmp_path / "work")
    represent = tmp_path / "work" / "represent"
    (represent / "metrics.json").unlink()
    shutil.rmtree(represent / "store.lance")
    marked = np.ones((20, whole.embeddings.shape[1]))  # not what the encoder makes: they show if they were made again
    store = EmbeddingStore.create(represent / "store.lance", id_type="int64", dim=marked.shape[1])
    contents = EmbeddingStore(chain.workdir / "represent" / "store.lance").labels_of(whole.item_ids[:20]).contents
    store.upsert(whole.item_ids[:20], marked, encoder=whole.encoder, contents=contents)

    run = chain.run("train", "--stage", "represent", "--workdir", str(tmp_path / "work"))
    assert run.returncode == 0, run.stderr
    metrics = json.loads((represent / "metrics.json").read_text())
    assert (metrics["embedded"], metrics["skipped"]) == (40, 20)
    continued = by_id(EmbeddingStore(store.path))
    for number, (item, embedding) in enumerate(by_id(EmbeddingStore(chain.workdir / "represent/store.lance")).items()):
        expected, tolerance = (marked[number], 0) if number < 20 else (embedding, 2e-3)
        np.testing.assert_allclose(continued[item], expected, atol=tolerance)


def by_id(store: Any) -> dict[int, np.ndarray]:
    stored = store.read()
    return dict(zip(stored.item_ids.tolist(), stored.embeddings, strict=True))


def test_next_weeks_run_trains_no_encoder_and_embeds_what_is_new(chain: Chain, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(chain.workdir / "represent" / "store.lance", tmp_path / "store")
    items = pq.read_table(chain.workdir.parent / "shop" / "items.parquet")
    new = items.slice(0, 2).set_column(0, "item_id", pa.array([10**6, 10**6 + 1]))
    titles = pa.array(["another title", *items["title"].to_pylist()[1:]])
    changed = items.set_column(items.column_names.index("title"), "title", titles)
    pq.write_table(pa.concat_tables([changed, new]), tmp_path / "items.parquet")
    earlier = {
        "data.items": tmp_path / "items.parquet",
        "represent.store": tmp_path / "store",
        "represent.encoder": chain.workdir / "represent" / "item_encoder",
        "represent.rows": "int8",
    }
    options = [part for name, value in earlier.items() for part in ("--set", f"{name}={value}")]
    run = chain.run("train", "--stage", "all", "--workdir", str(tmp_path / "W2"), *options)
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in (tmp_path / "W2").iterdir()) == ["prepare", "rank", "represent"]
    represent, rank = (
        json.loads((tmp_path / "W2" / stage / "metrics.json").read_text()) for stage in ("represent", "rank")
    )
    assert (represent["embedded"], represent["skipped"], represent["items"]) == (3, 59, 62)
    assert rank["store_version"] == rank["store_version_first"] == represent["store_version"]
    evaluated = chain.run("evaluate", "--workdir", str(tmp_path / "W2"), *options)
    assert evaluated.returncode == 0, evaluated.stderr


def test_running_again_does_nothing(chain: Chain) -> None:
    before = chain.files()
    again = chain.run("train", "--stage", "all")
    assert again.returncode == 0
    assert again.stdout.count("finished already") == 5
    assert chain.files() == before


def test_the_resolved_settings_are_saved(chain: Chain) -> None:
    from mim_tf.settings import load_settings

    assert load_settings(chain.workdir / "rank" / "settings.yaml") == load_settings(chain.config)


def test_other_settings_are_refused_not_ignored(chain: Chain) -> None:
    run = chain.run("train", "--stage", "rank", "--set", "rank.ubm=average")
    assert run.returncode == 1
    assert "rank.ubm was 'sim', now 'average'" in run.stderr
    assert "Traceback" not in run.stderr


def test_evaluate_finds_what_rank_measured(chain: Chain) -> None:
    run = chain.run("evaluate")
    assert run.returncode == 0, run.stderr
    rank = chain.metrics("rank")
    overall = run.stdout.split("\n\n")[0]
    table = {line.split()[0]: line.split()[1:] for line in overall.splitlines()[1:]}
    for name, suffix in (("model", ""), ("base", "_base")):
        expected = [rank[f"{metric}{suffix}"] for metric in ("auc", "grouped_auc", "log_loss")]
        np.testing.assert_allclose([float(cell) for cell in table[name][:3]], expected, atol=1e-4)


def test_a_page_tells_of_the_run(chain: Chain) -> None:
    run = chain.run("report")
    assert run.returncode == 0, run.stderr
    page = (chain.workdir / "report.html").read_text(encoding="utf-8")
    assert page.count("<h2>") == 9
    for name in ("auc", "grouped_auc", "log_loss", "auc_base"):
        assert f"{chain.metrics('rank')[name]:.4f}" in page
    for stage in ("pretrain", "csft"):
        assert chain.metrics(stage)["seconds"] > 0


def test_a_process_with_tensorflow_alone_gives_the_training_models_numbers(
    exported: Path, rows: dict[str, np.ndarray], trained: np.ndarray, tmp_path: Path
) -> None:
    plain = {name: column.astype(str) if column.dtype == object else column for name, column in rows.items()}
    np.savez(tmp_path / "rows.npz", **plain)
    code = f"""
import sys
for name in ("mim_tf", "tf_keras", "tensorflow_recommenders", "keras_nlp", "tensorflow_text"):
    sys.modules[name] = None  # importing it fails
import numpy as np, tensorflow as tf
predict = tf.saved_model.load({str(exported)!r}).signatures["predict"]
rows = np.load({str(tmp_path / "rows.npz")!r})
probability = predict(**{{name: tf.constant(rows[name]) for name in rows}})["probability"]
np.save({str(tmp_path / "scores.npy")!r}, probability.numpy())
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=ENV, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), trained, atol=1e-6)


@pytest.fixture
def address(chain: Chain, exported: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "mim_tf.serving", "--models", str(chain.models), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENV) as server:
        assert server.stdout is not None
        yield next(line.split()[2] for line in server.stdout if line.startswith("Listening on "))
        server.terminate()
    assert server.returncode == 0


def test_the_server_gives_the_training_models_numbers(
    address: str, rows: dict[str, np.ndarray], trained: np.ndarray
) -> None:
    from mim_tf.serving.client import Client

    with Client(address) as client:
        served = client.predict("ranker", rows, signature="predict")["probability"]
        one = client.predict("ranker", {name: column[:1] for name, column in rows.items()})["probability"]
    np.testing.assert_allclose(served, trained, atol=1e-6)
    np.testing.assert_allclose(one, trained[:1], atol=1e-6)


def test_every_way_to_ask_gives_the_training_models_numbers(chain: Chain) -> None:
    """In processes of their own: TensorFlow, its C API, the stand-in; TF Serving where there is one."""
    from mim_tf.representation import EmbeddingStore

    store = EmbeddingStore(chain.workdir / "represent" / "store.lance")
    tags = store.tags
    check = chain.run("serve_check", "--rows", "40")
    assert check.returncode == 0, check.stdout + check.stderr
    assert store.tags == tags
    ways, *lines = [line for line in check.stdout.splitlines() if not line.startswith("skipped: TF Serving")]
    assert ways.endswith(("stand-in REST", "TF Serving REST"))
    outputs = [line.split()[0] for line in lines]
    for model, signature in (
        ("whole/ranker", "rank_with_state.top_probability"),
        ("whole/item_encoder", "embed.embedding"),
        ("whole/query_encoder", "embed.embedding"),
        ("sharded/ranker", "rank.probability"),
        ("sharded/ranker_table_1", "lookup.embedding"),
    ):
        assert f"{model}.{signature}" in outputs


def test_a_second_export_is_the_next_version(chain: Chain, exported: Path) -> None:
    run = chain.run("export", "--to", str(chain.models))
    assert Path(run.stdout.strip()) == exported.parent / str(int(exported.name) + 1)
    assert sorted(path.name for path in exported.parent.iterdir()) == ["1", "2"]
