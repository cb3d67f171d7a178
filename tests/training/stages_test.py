"""Who ends when: the workers of a stage not before the chief, whatever it still does after the training."""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mim_tf.errors import StageError
from mim_tf.settings import Settings, parse_settings
from mim_tf.training import stages, workers
from mim_tf.training.stages import run_stage
from mim_tf.workdir import StageFolder


@pytest.fixture
def chief() -> socket.socket:
    return socket.create_server(("", 0))


@pytest.fixture
def settings(chief: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of worker 1 of a stage that trains in no time, and whose records are prepared."""
    addresses = [f"localhost:{chief.getsockname()[1]}", "localhost:1"]
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    monkeypatch.setattr(stages, "_run", lambda *_: {})
    tree: dict[str, Any] = {"data": {"items": "items.parquet"}, "pretrain": {"strategy": "multi_worker"}}
    settings = parse_settings(tree, source="test")
    prepare = StageFolder(tmp_path, "prepare")
    with prepare.begin(settings):
        prepare.finish({})
    return settings


@pytest.mark.parametrize(("measured", "expected"), [({"loss": 2.0}, 3.5), ({"loss": 2.0, "seconds": 0.25}, 0.25)])
def test_a_stage_notes_how_long_it_took_unless_it_has_measured_that(
    measured: dict[str, float], expected: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 13.5])
    monkeypatch.setattr(stages, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(
        stages, "importlib", SimpleNamespace(import_module=lambda _: SimpleNamespace(run=run_of(measured)))
    )
    run_stage("prepare", parse_settings({"data": {"items": "items.parquet"}}, source="test"), tmp_path, "")
    assert StageFolder(tmp_path, "prepare").metrics == {"loss": 2.0, "seconds": expected}


def run_of(metrics: dict[str, float]) -> Callable[..., dict[str, float]]:
    """A stage that takes no time and measures this."""
    return lambda *_, **__: metrics


def test_a_worker_is_done_once_the_chief_has_written_the_metrics(
    chief: socket.socket, settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with chief, ThreadPoolExecutor() as threads:
        worker = threads.submit(run_stage, "pretrain", settings, tmp_path, "")
        with pytest.raises(TimeoutError):
            worker.result(1)
        folder = StageFolder(tmp_path, "pretrain")
        folder.path.mkdir()
        folder.finish({"loss": 1})
        worker.result(5)
    assert "pretrain: worker 1 is done" in capfd.readouterr().out


def test_a_worker_whose_chief_is_lost_at_the_end_comes_back_with_an_error(
    chief: socket.socket, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_SHOWN_SECONDS", 0.1)
    chief.close()
    with pytest.raises(StageError, match=r"has gone before the stage was finished\. Run the same command again on all"):
        run_stage("pretrain", settings, tmp_path, "")
