"""Stage 2 from prepared records to the item encoder it hands over: every variant and ablation by its setting."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.errors import DataError, SettingsError, StageError
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.settings import Settings
from mim_tf.training import csft, prepare, pretrain
from mim_tf.training.loop import Evaluation, nothing_held_out
from mim_tf.training.models import load_encoders, load_item_encoder
from mim_tf.training.pair_retrieval import pair_retrieval
from mim_tf.workdir import StageFolder
from tests.training.toy_training import KilledError

BATCH, STEPS = 16, 6
CSFT = {"epochs": 3, "batch_size": BATCH, "evaluate_every": 4, "st_nsg": {"queue_batches": 2}}
ALWAYS = {"loss", "steps", "start_recall_at_1", "held_out_recall_at_1", "held_out_mrr"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = tmp_path_factory.mktemp("shop")
    make_demo_shop(shop, items=60, users=40, days=20, searches=60)
    return shop


@pytest.fixture(scope="module")
def workdir_of(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Prepared and pre-trained, plain encoders that is, by the action that makes a pair; each once."""

    @functools.cache
    def made(action: str) -> Path:
        workdir = tmp_path_factory.mktemp(action)
        run_upstream(settings_of(shop, {"pairs_action": action}), workdir)
        return workdir

    return made


def run_upstream(settings: Settings, workdir: Path) -> None:
    for stage in (prepare, pretrain):
        folder = StageFolder(workdir, stage.__name__.rsplit(".", 1)[-1])
        folder.path.mkdir()
        folder.finish(stage.run(settings, workdir))


def settings_of(shop: Path, data: dict[str, Any], **changes: Any) -> Settings:
    files = {name: str(shop / f"{name}.parquet") for name in ("items", "impressions", "pairs")}
    return Settings.model_validate(
        {
            "data": {**files, "validation_from": "2025-01-15", "shards": 1, **data},
            "encoders": {
                "vision": {"name": "vit_toy", "image_size": 32},
                "text": {"name": "bert_toy", "length": 8},
                "dim": 4,
                "precision": changes.pop("precision", "float32"),
            },
            "pretrain": {"image_text": None},
            "csft": CSFT | changes,
        }
    )


def run(shop: Path, upstream: Path, folder: Path, **changes: Any) -> dict[str, float]:
    """The stage's metrics, in a workdir that borrows what came before."""
    for stage in ("prepare", "pretrain"):
        (folder / stage).symlink_to(upstream / stage)
    return csft.run(settings_of(shop, {}, **changes), folder)


CONTRASTIVE = {"query_to_item_loss", "query_to_text_loss", "query_to_image_loss", "negatives", "false_negatives"}
DRIFT = {"queue_drift_fused", "queue_drift_text", "queue_drift_image"}
VARIANTS: dict[str, tuple[str, dict[str, Any], set[str], set[str]]] = {
    # Table 4, and what must be among the metrics and what must not.
    "contrastive, purchase": ("purchase", {}, CONTRASTIVE | DRIFT, set()),
    "contrastive, click": ("click", {}, CONTRASTIVE | DRIFT, set()),
    "cross-entropy, purchase": ("purchase", {"loss": "matching"}, {"query_to_item_loss"}, {"negatives"}),
    "cross-entropy, click": ("click", {"loss": "matching"}, {"query_to_item_loss"}, {"negatives"}),
    "cross-entropy, category": (
        "purchase",
        {"loss": "category"},
        {"query_loss", "category_accuracy"},
        {"negatives", "negative_fallback_share"},
    ),
    # Table 5; without C-SFT below.
    "without TFN": ("purchase", {"fusion": "concat"}, CONTRASTIVE, set()),
    "without ST-NSG": ("purchase", {"st_nsg": None}, CONTRASTIVE, DRIFT | {"negative_fallback_share"}),
    "without multi-level": ("purchase", {"alpha": 0, "beta": 0}, {"negatives"}, {"query_to_text_loss"}),
    # What else the settings offer.
    "no queue": ("purchase", {"st_nsg": {"queue_batches": 0}}, {"negative_fallback_share"}, DRIFT),
    "slow encoder": ("purchase", {"st_nsg": {"queue_batches": 2, "momentum": 0.9}}, DRIFT, set()),
    "half precision": ("purchase", {"precision": "mixed_bfloat16", "chunk_size": 8}, CONTRASTIVE | DRIFT, set()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_from_its_settings(
    shop: Path, workdir_of: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    action, changes, there, not_there = VARIANTS[name]
    metrics = run(shop, workdir_of(action), tmp_path, **changes)
    assert ALWAYS | there <= set(metrics)
    assert not not_there & set(metrics)
    assert all(np.isfinite(list(metrics.values())))
    assert metrics["steps"] >= STEPS
    start = load_encoders(StageFolder(tmp_path, "pretrain"), "float32")[0]
    tuned = load_item_encoder(StageFolder(tmp_path, "csft"), "float32")
    assert tuned.fusion.__class__.__name__ == ("ConcatFusion" if name == "without TFN" else "TensorFusion")
    assert max(np.abs(a - b).max() for a, b in zip(start.get_weights(), tuned.vision.get_weights(), strict=True)) > 1e-4


def test_two_steps_move_the_encoders(
    shop: Path, workdir_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick one: one loss, hard negatives without a queue, nothing measured between."""
    monkeypatch.setattr(csft, "pair_retrieval", lambda records, batch_size: nothing_held_out)
    changes = {"epochs": 1, "alpha": 0, "beta": 0, "st_nsg": {"queue_batches": 0}}
    metrics = run(shop, workdir_of("purchase"), tmp_path, **changes)
    assert metrics["steps"] == 2
    assert np.isfinite(metrics["loss"])
    # Each of the 16 queries has the other 15 positives and 16 hard negatives, but for those that are false.
    assert metrics["negatives"] + metrics["false_negatives"] == pytest.approx(2 * BATCH - 1)
    start = load_encoders(StageFolder(tmp_path, "pretrain"), "float32")
    tuned = load_item_encoder(StageFolder(tmp_path, "csft"), "float32")
    for before, after in zip(start, (tuned.vision, tuned.text), strict=True):
        moved = [np.abs(a - b).max() for a, b in zip(before.get_weights(), after.get_weights(), strict=True)]
        assert max(moved) > 1e-4


@pytest.mark.slow
def test_the_negatives_are_as_many_as_the_paper_says(
    shop: Path, workdir_of: Callable[[str], Path], tmp_path: Path
) -> None:
    metrics = run(shop, workdir_of("purchase"), tmp_path, mask_false_negatives=False)
    # The mean of the steps since the evaluation after the fourth one: the queue of k = 2 batches is full.
    assert metrics["negatives"] == 2 * BATCH * (2 + 1) - 1
    assert metrics["false_negatives"] > 0


def test_without_csft_the_item_encoder_is_stage_ones_and_sums(
    shop: Path, workdir_of: Callable[[str], Path], tmp_path: Path
) -> None:
    metrics = run(shop, workdir_of("purchase"), tmp_path, epochs=0)
    assert metrics["steps"] == 0
    assert metrics["start_mrr"] == metrics["held_out_mrr"]
    items: ItemEncoder = load_item_encoder(StageFolder(tmp_path, "csft"), "float32")
    vision, text = load_encoders(StageFolder(tmp_path, "pretrain"), "float32")
    images = tf.random.uniform([2, 32, 32, 3], maxval=255)
    token_ids = text.tokenize(tf.constant(["red dress", "blue hat"]))
    image, title = (tf.math.l2_normalize(rows, axis=-1) for rows in (vision(images), text(token_ids)))
    expected = tf.math.l2_normalize(image + title, axis=-1)
    np.testing.assert_allclose(items(images, token_ids).fused, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(
    shop: Path,
    workdir_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed in the evaluation after step 4, it goes on after step 3 with the queue and the slow weights of then."""
    changes = {"st_nsg": {"queue_batches": 2, "momentum": 0.9}, "checkpoint_every": 3}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    expected = run(shop, workdir_of("purchase"), whole, **changes)
    with monkeypatch.context() as patched:
        patched.setattr(csft, "pair_retrieval", dying_the_second_time)
        with pytest.raises(KilledError):
            run(shop, workdir_of("purchase"), killed, **changes)
    metrics = csft.run(settings_of(shop, {}, **changes), killed)
    assert "continues at step 3 of" in capsys.readouterr().err
    speed = {"examples_per_second", "input_wait_share"}
    assert {name: metrics[name] for name in expected.keys() - speed} == {
        name: expected[name] for name in expected.keys() - speed
    }
    found, tuned = (load_item_encoder(StageFolder(workdir, "csft"), "float32") for workdir in (killed, whole))
    for one, other in zip(found.get_weights(), tuned.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def dying_the_second_time(records: Path, batch_size: int) -> Callable[[Any], Evaluation]:
    """An evaluation that measures the start, and is killed the next time."""
    evaluate, measured = pair_retrieval(records, batch_size), []

    def measure_or_die(objective: Any) -> Evaluation:
        if measured:
            raise KilledError
        measured.append(evaluate(objective))
        return measured[0]

    return measure_or_die


def test_a_restart_with_another_k_is_refused(shop: Path, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "csft")
    with folder.begin(settings_of(shop, {})):
        (folder.path / "checkpoints").mkdir()  # something was made
    with pytest.raises(StageError, match=r"csft\.st_nsg\.queue_batches was 2, now 3\. Use another --workdir"):
        folder.check(settings_of(shop, {}, st_nsg={"queue_batches": 3}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"st_nsg": {"queue_batches": -1}}, r"st_nsg\.queue_batches.*\n.*greater than or equal to 0"),
        ({"st_nsg": {"momentum": 1.0}}, r"st_nsg\.momentum.*\n.*less than 1"),
        ({"st_nsg": {"queue_batches": 0, "momentum": 0.9}}, "set `queue_batches` too, or neither"),
        ({"epochs": 0, "fusion_units": [8]}, "`fusion_units` would be a random projection"),
        ({"loss": "matching", "st_nsg": None}, "`loss: matching` needs the hard negatives of `st_nsg`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(shop: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of(shop, {}, **changes)


def test_a_batch_that_does_not_divide_is_refused(shop: Path, workdir_of: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"`csft\.chunk_size` must divide the 16 examples of a replica"):
        run(shop, workdir_of("purchase"), tmp_path, chunk_size=5)


def test_pairs_are_needed_unless_nothing_is_trained(shop: Path, tmp_path: Path) -> None:
    no_logs = {"impressions": None, "pairs": None}
    run_upstream(settings_of(shop, no_logs), tmp_path)
    with pytest.raises(DataError, match=r"`data\.pairs` or `data\.impressions` must be set for C-SFT"):
        csft.run(settings_of(shop, no_logs), tmp_path)
    assert csft.run(settings_of(shop, no_logs, epochs=0), tmp_path)["steps"] == 0
