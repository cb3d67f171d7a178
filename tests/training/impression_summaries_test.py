"""What is written of validation impressions, read back from event files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import precision_score, recall_score, roc_auc_score
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from mim_tf.training.impression_summaries import write_gains, write_impressions
from mim_tf.training.scoring import Scored

COUNT = 1200
RNG = np.random.default_rng(0)
LABELS = (RNG.uniform(size=COUNT) < 0.3).astype(int)
CATEGORIES = np.array([b"hat", b"tie", "女装".encode()], object)[RNG.integers(3, size=COUNT)]


def scored(noise: float) -> Scored:
    chance = np.random.default_rng(1).uniform(size=COUNT)
    return Scored(
        labels=LABELS,
        users=np.arange(COUNT) // 6,
        items=np.arange(COUNT),
        timestamps=np.zeros(COUNT, np.int64),
        categories=CATEGORIES,
        ages=np.arange(COUNT),
        probabilities=(LABELS * (1 - noise) + chance * noise).astype(np.float32),
    )


def written(folder: Path, write: Any, *arguments: Any) -> dict[str, np.ndarray]:
    """What was written, by tag."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=5):
        write(*arguments)
    writer.close()
    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(folder))
    events.Reload()
    tags = events.Runs()["."]["tensors"]
    assert {event.step for tag in tags for event in events.Tensors(".", tag)} == {5}
    return {tag: tf.make_ndarray(events.Tensors(".", tag)[0].tensor_proto) for tag in tags}


def test_precision_and_recall_are_scikit_learns(tmp_path: Path) -> None:
    model = scored(0.9)
    curves = written(tmp_path, write_impressions, model, "model")["precision_recall/pr_curves"]
    precision, recall = curves[-2:]
    for number in (40, 100, 130):  # of 201 thresholds from 0 to 1
        clicked = model.probabilities >= number / 200
        assert precision[number] == pytest.approx(precision_score(LABELS, clicked), abs=1e-3)
        assert recall[number] == pytest.approx(recall_score(LABELS, clicked), abs=1e-3)


def test_aucs_by_group_are_scikit_learns(tmp_path: Path) -> None:
    model = scored(0.9)
    found = written(tmp_path, write_impressions, model, "model")
    assert {tag for tag in found if tag.startswith("auc_by_age/")} == {f"auc_by_age/S{age}" for age in range(1, 11)}
    newest = slice(0, COUNT // 10)
    assert found["auc_by_age/S1"] == pytest.approx(roc_auc_score(LABELS[newest], model.probabilities[newest]))
    dresses = "女装".encode() == CATEGORIES
    expected = roc_auc_score(LABELS[dresses], model.probabilities[dresses])
    assert found["auc_by_category/女装"] == pytest.approx(expected)


def test_what_cannot_be_measured_is_left_out(tmp_path: Path) -> None:
    few = Scored(*(column[:20] for column in scored(0.9)))
    assert set(written(tmp_path, write_impressions, few, "base")) == {"precision_recall/pr_curves", "calibration"}
    assert set(written(tmp_path / "gain", write_gains, few, few)) == {"calibration"}


def test_gains_are_pictures(tmp_path: Path) -> None:
    found = written(tmp_path, write_gains, scored(0.9), scored(0.99))
    assert set(found) == {"calibration", "gain_by_age", "gain_by_category"}
    for width, height, png in found.values():
        pixels = tf.io.decode_png(png).numpy()
        assert pixels.shape[:2] == (int(height), int(width))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10  # something is drawn
