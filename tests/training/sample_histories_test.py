"""Which sessions are drawn, with weights and probabilities that are computed here by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.toy_ranking import DIM, make_workdir

pytestmark = pytest.mark.both_kerases


class Table:
    """A content embedding for every item."""

    trainable_variables: tuple[()] = ()

    def __init__(self, items: int):
        self.rows = np.random.default_rng(3).normal(size=(items, DIM)).astype(np.float32)

    def lookup(self, item_ids: Any) -> Any:
        import tensorflow as tf

        return tf.gather(self.rows, item_ids % len(self.rows))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_workdir(folder)
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is handed to the picture."""
    from mim_tf.training import sample_histories

    seen: list[Any] = []
    monkeypatch.setattr(sample_histories, "history_picture", lambda users: seen.append(users) or np.zeros((1, 1, 3)))
    return seen


def test_weights_are_cosines_with_the_best_candidate_and_candidates_are_ranked(workdir: Path, drawn: list[Any]) -> None:
    from mim_tf.settings import load_settings
    from mim_tf.training.sample_histories import SampleHistories
    from mim_tf.training.scoring import validation_sessions

    options = load_settings(workdir / "run.yaml").rank
    records, table = workdir / "prepare" / "records", Table(97)
    rows = list(validation_sessions(records, options).unbatch().as_numpy_iterator())
    items = np.concatenate([row["item_id"][row["is_shown"]] for row in rows])
    labels = np.concatenate([row["label"][row["is_shown"]] for row in rows])
    row_of = np.repeat(np.arange(len(rows)), [row["is_shown"].sum() for row in rows])
    probabilities = np.random.default_rng(0).uniform(size=len(labels)).astype(np.float32)
    assert SampleHistories(records, options, table).picture(probabilities) is not None
    [users] = drawn
    assert 1 <= len(users) <= 4
    for user in users:
        assert any(candidate.right for candidate in user.candidates)
        found = [candidate.similarity for candidate in user.candidates]
        assert found == sorted(found, reverse=True)
        places = [int(np.flatnonzero(probabilities == np.float32(value))[0]) for value in found]
        [number] = set(row_of[places])  # one session's, and each of its impressions once
        assert len(places) == (row_of == number).sum()
        assert user.user == f"user {rows[number]['user_id']}"
        assert [candidate.right for candidate in user.candidates] == [bool(labels[place]) for place in places]
        best, history = table.rows[items[places[0]] % 97], rows[number]["history_item_id"]
        behaviours = table.rows[history[history != -1] % 97]
        cosines = behaviours @ best / np.linalg.norm(behaviours, axis=1) / np.linalg.norm(best)
        np.testing.assert_allclose([one.similarity for one in user.behaviours], cosines, rtol=1e-4, atol=1e-6)
        assert all(isinstance(one.photo, bytes) and one.photo for one in (*user.behaviours, *user.candidates))


def test_a_user_without_behaviours_or_clicks_is_not_drawn(workdir: Path, drawn: list[Any]) -> None:
    from mim_tf.settings import load_settings
    from mim_tf.training.sample_histories import SampleHistories, _sessions
    from mim_tf.training.scoring import validation_sessions

    options = load_settings(workdir / "run.yaml").rank.model_copy(update={"candidates": 1})
    records = workdir / "prepare" / "records"
    batch = next(iter(validation_sessions(records, options)))
    assert any(not session.clicked.any() for session in _sessions(batch))
    count = sum(len(session.candidates) for session in _sessions(batch))
    SampleHistories(records, options, Table(97)).picture(np.zeros(10 * count, np.float32))
    assert all(user.candidates[0].right and user.behaviours for user in drawn[0])


def test_records_elsewhere_give_no_photos_and_are_not_fetched(workdir: Path, drawn: list[Any], tmp_path: Path) -> None:
    import json
    import shutil

    from mim_tf.settings import load_settings
    from mim_tf.training.sample_histories import SampleHistories

    records = tmp_path / "records"
    shutil.copytree(workdir / "prepare" / "records", records)
    shutil.rmtree(records / "items")
    (records / "elsewhere.json").write_text(json.dumps({"records": "memory://nowhere", "cache": None}))
    histories = SampleHistories(records, load_settings(workdir / "run.yaml").rank, Table(97))
    histories.picture(np.zeros(10_000, np.float32))
    assert {behaviour.photo for user in drawn[0] for behaviour in user.behaviours} == {b""}
    assert not (records / "items").exists()
