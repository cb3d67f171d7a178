"""One reading of the validation impressions, against the same impressions read one by one."""

from pathlib import Path

import pytest

from mim_tf.data.records import read_impressions
from mim_tf.errors import StageError
from mim_tf.report.validation_sessions import Validation, read_validation
from mim_tf.settings import RankSettings
from mim_tf.training.scoring import Scored, score, validation_sessions
from tests.report.toy_run import Guess
from tests.training.toy_sessions import write_records

OPTIONS = RankSettings(batch_size=32, candidates=3)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("sessions"), shards=2)


@pytest.fixture(scope="module")
def scored(records: Path) -> Scored:
    return score(Guess(0.5, 0), validation_sessions(records, OPTIONS))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def read(records: Path, scored: Scored) -> Validation:
    return read_validation(records, OPTIONS, scored, 5)


def test_histories_are_as_long_as_those_of_impressions_alone(records: Path, scored: Scored, read: Validation) -> None:
    [alone] = read_impressions(records, "validation", batch_size=100_000)
    lengths = (alone["history_item_id"].numpy() >= 0).sum(axis=1)
    columns = [alone[name].numpy() for name in ("user_id", "item_id", "label", "item_age")]
    expected = sorted(zip(*(column.tolist() for column in columns), lengths.tolist(), strict=True))
    found = zip(scored.users, scored.items, scored.labels, scored.ages, read.history_lengths, strict=True)
    assert sorted(tuple(int(value) for value in row) for row in found) == expected
    assert len(set(lengths.tolist())) > 3


def test_sessions_are_what_their_predictions_are_of(scored: Scored, read: Validation) -> None:
    assert len({session.user_id for session in read.sessions}) == len(read.sessions) == 5
    for session in read.sessions:
        rows = slice(session.first, session.first + len(session.candidates))
        assert session.candidates.tolist() == scored.items[rows].tolist()
        assert session.clicked.tolist() == (scored.labels[rows] == 1).tolist()
        assert set(scored.users[rows].tolist()) == {session.user_id}
        assert set(read.history_lengths[rows].tolist()) == {len(session.history)}
        assert len(session.history) >= 5
        assert session.clicked.any()
        assert 2 <= len(session.candidates) <= 3


def test_fewer_are_asked_for_and_the_first_ones_stay(records: Path, scored: Scored, read: Validation) -> None:
    few = read_validation(records, OPTIONS, scored, 2).sessions
    assert [session.user_id for session in few] == [session.user_id for session in read.sessions[:2]]


def test_predictions_of_other_impressions_are_told_of(records: Path, scored: Scored) -> None:
    others = scored._replace(items=scored.items[::-1])
    with pytest.raises(StageError, match=r"must hold the impressions that were predicted\. Run the rank stage again\."):
        read_validation(records, OPTIONS, others, 2)
