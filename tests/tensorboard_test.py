"""`python -m mim_tf.tensorboard`, asked over its HTTP API, as its page asks."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import tensorflow as tf

from mim_tf.tensorboard import link_runs


def write_run(folder: Path, tag: str) -> None:
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=3):
        tf.summary.scalar(tag, 0.5)
    writer.close()


@pytest.fixture
def workdirs(tmp_path: Path) -> list[Path]:
    """Two of the same name, one with a stage, one with two."""
    first, second = tmp_path / "monday" / "W", tmp_path / "tuesday" / "W"
    write_run(first / "csft" / "tensorboard", "loss")
    write_run(second / "csft" / "tensorboard", "loss")
    write_run(second / "rank" / "tensorboard" / "model-0" / "validation", "epoch_auc")
    return [first, second]


def command(workdirs: list[Path], *options: str) -> list[str]:
    folders = [part for workdir in workdirs for part in ("--workdir", str(workdir))]
    return [sys.executable, "-m", "mim_tf.tensorboard", *folders, *options]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder of temporary files of the processes that are started."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def answer(port: int, path: str) -> Any:
    with urlopen(f"http://localhost:{port}/data/{path}", timeout=60) as response:
        return json.load(response)


def answer_with(port: int, path: str, expected: set[str]) -> Any:
    """What it answers once it has read as much as is expected."""
    end, found = time.monotonic() + 120, None
    while time.monotonic() < end:
        try:
            found = answer(port, path)
            if expected <= set(found):
                return found
        except (URLError, ConnectionError):  # not there yet
            pass
        time.sleep(0.2)
    raise AssertionError(f"{path}: {found}")


@pytest.fixture
def started(request: pytest.FixtureRequest, workdirs: list[Path], port: int, temporary: Path) -> Iterator[int]:
    """A TensorBoard on the first so many workdirs; its port."""
    arguments = command(workdirs[: request.param], "--port", str(port))
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(60)
    assert not list(temporary.glob("mim_tf_tensorboard_*"))  # the links went with it


@pytest.mark.slow
@pytest.mark.parametrize("started", [2], indirect=True)
def test_two_workdirs_of_one_name_are_shown_side_by_side(started: int, workdirs: list[Path]) -> None:
    names = {"W/csft/tensorboard", "W-2/csft/tensorboard", "W-2/rank/tensorboard/model-0/validation"}
    assert set(answer_with(started, "runs", names)) == names
    tags = answer_with(started, "plugin/scalars/tags", names)
    assert {run: sorted(tags[run]) for run in names} == {
        "W/csft/tensorboard": ["loss"],
        "W-2/csft/tensorboard": ["loss"],
        "W-2/rank/tensorboard/model-0/validation": ["epoch_auc"],
    }
    [[_, step, value]] = answer(started, "plugin/scalars/scalars?run=W/csft/tensorboard&tag=loss")
    assert (step, value) == (3, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("started", [1], indirect=True)
def test_one_workdir_is_opened_as_it_is(started: int) -> None:
    assert set(answer_with(started, "runs", {"csft/tensorboard"})) == {"csft/tensorboard"}


def test_a_folder_without_runs_is_refused(tmp_path: Path, workdirs: list[Path]) -> None:
    (tmp_path / "empty").mkdir()
    ended = subprocess.run(command([*workdirs, tmp_path / "empty"]), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "`--workdir` must be the folder of a run that has trained something" in ended.stderr
    assert f"Run first: python -m mim_tf.train --stage all --config ... --workdir {tmp_path / 'empty'}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_links_lead_to_the_workdirs_wherever_it_is_called_from(
    workdirs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "monday")
    links = tmp_path / "links"
    links.mkdir()
    link_runs([Path("W"), workdirs[1]], links)
    assert {link.name: link.resolve() for link in links.iterdir()} == {"W": workdirs[0], "W-2": workdirs[1]}
