"""Where the benchmark of days cuts a log: no run sees a window before it is measured on it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mim_tf.errors import SettingsError
from mim_tf.settings import parse_settings
from tests.conftest import LEGACY

if LEGACY:  # TFRS refuses Keras 3
    from benchmarks.daily import Log, check, line

pytestmark = pytest.mark.legacy_keras


@pytest.fixture
def log(tmp_path: Path) -> Any:
    """An impression a second, cut at 10, 20 and 30 of 40."""
    pq.write_table(pa.table({"timestamp": range(40)}), tmp_path / "log.parquet")
    tree = {"data": {"items": "items.parquet", "impressions": str(tmp_path / "log.parquet")}, "rank": {"ubm": "din"}}
    return Log(parse_settings(tree, "test"), [10, 20, 30], tmp_path)


def test_a_run_sees_nothing_after_the_window_it_is_measured_on(log: Any) -> None:
    for window, end in ((0, 20), (1, 30)):
        seen = pq.read_table(str(log.run(window, alone=False).data.impressions))["timestamp"].to_pylist()
        assert seen == list(range(end))
        assert log.run(window, alone=False).data.validation_from == end - 10


def test_a_run_that_goes_on_trains_on_the_window_before_alone(log: Any) -> None:
    assert list(log.measured) == [1]
    assert log.run(1, alone=True).data.train_from == 10
    assert log.run(1, alone=False).data.train_from is None
    on = log.run(1, alone=True, learning_rate=0.001, start_from="first")
    assert (on.rank.ubm, on.rank.learning_rate, on.rank.start_from) == ("din", 0.001, "first")


def test_a_line_has_means_and_the_change_of_each_window() -> None:
    first = [{"auc": auc, "log_loss": 0.5, "auc_base": 0.5, "steps": 0, "seconds": 0} for auc in (0.6, 0.7)]
    on = [
        {"auc": 0.61, "log_loss": 0.5, "auc_base": 0.5, "steps": 10, "seconds": 2.0},
        {"auc": 0.68, "log_loss": 0.4, "auc_base": 0.52, "steps": 20, "seconds": 4.0},
    ]
    assert line("on", on, first).split() == ["on", "0.6450", "0.4500", "0.5100", "15", "3.0", "+0.0100", "-0.0200"]


def test_a_log_that_cannot_be_cut_is_refused(log: Any, tmp_path: Path) -> None:
    check(log.settings)
    (tmp_path / "log.csv").write_text("timestamp\n1\n")
    for impressions in (str(tmp_path / "log.csv"), str(tmp_path / "nowhere.parquet"), None):
        tree = {"data": {"items": "items.parquet", "impressions": impressions}}
        with pytest.raises(SettingsError, match=rf"`data\.impressions` must be Parquet.*\. Received: {impressions}\."):
            check(parse_settings(tree, "test"))


def test_trainings_whose_length_nobody_knows_are_refused(log: Any) -> None:
    tree = log.settings.model_dump(exclude_unset=True) | {"rank": {"patience": 2}}
    with pytest.raises(SettingsError, match=r"`rank\.patience` must be null: .*\. Received: 2\."):
        check(parse_settings(tree, "test"))
