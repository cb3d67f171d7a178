"""`python -m mim_tf.serving`, in processes of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.serving.__main__ import main
from mim_tf.serving.client import Client
from mim_tf.serving.server import Server
from tests.serving.publishing import bring_along, publish, wait_until, warmup_record

COMMAND = [sys.executable, "-m", "mim_tf.serving"]
# As a user starts it: without the log level that the tests set for themselves.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
PATIENCE = 300  # seconds, of a machine that does much else
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])


@contextmanager
def started(models: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Serves a folder of models, or a configuration file."""
    source = "--models" if models.is_dir() else "--model-config-file"
    command = [*COMMAND, source, str(models), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    limit = threading.Timer(PATIENCE, process.kill)  # a server that hangs fails the test instead of hanging it
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


@pytest.fixture
def process(models: Path) -> Iterator[subprocess.Popen[str]]:
    with started(models) as process:
        yield process


def errors_in(log: str) -> list[str]:
    """The lines of a log, without the one that is meant to be there."""
    return [line for line in log.splitlines() if "notes is ignored" not in line]


def read_until(process: subprocess.Popen[str], start: str, stream: str = "stdout") -> list[str]:
    """Reads what the server prints up to the line that starts so; fails if the server ends before."""
    lines: list[str] = []
    while not lines or not lines[-1].startswith(start):
        lines.append(getattr(process, stream).readline())
        assert lines[-1], process.communicate()
    return lines


@SIGNALS
def test_a_signal_lets_running_requests_finish(
    process: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    printed = read_until(process, "Listening on ")
    assert "stand-in for TF Serving" in printed[0]
    assert "ranker: version 10\n" in printed
    assert "  lookup(item_id: int64 [?]) -> (embedding: float32 [?, 2], item_id: int64 [?])\n" in printed
    (address,) = re.findall(r"127\.0\.0\.1:\d+", printed[-1])

    with Client(address, timeout=60) as client, ThreadPoolExecutor(1) as threads:
        running = threads.submit(client.predict, "ranker", {"folder": str(tmp_path)}, signature="wait")
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        process.send_signal(number)
        read_until(process, "Stopping", "stderr")
        assert not running.done()
        (tmp_path / "go").touch()
        assert running.result()["polls"] > 0

    rest, log = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest, errors_in(log)) == (0, "", [])


@SIGNALS
def test_a_signal_while_the_models_are_loaded_ends_the_process(
    folder: Path, new: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """In a warm-up that would never end."""
    aside = publish(new, tmp_path / "aside")
    bring_along(aside, warmup_record("wait", folder=str(tmp_path)))
    aside.rename(folder / "2")
    with started(folder.parent) as process:
        wait_until((tmp_path / "started").exists)
        process.send_signal(number)
        assert process.wait(timeout=PATIENCE) == -number


@pytest.mark.slow
def test_the_files_of_tf_serving_are_served_and_waiting_requests_finish(
    folder: Path, new: Path, tmp_path: Path
) -> None:
    """A request that waits to be joined, for a minute, is answered when the server is stopped."""
    publish(new, folder / "2")
    files = {
        "models": f'model_config_list {{ config {{ name: "ranker" base_path: "{folder}" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } } }',
        "batching": "max_batch_size { value: 8 } batch_timeout_micros { value: 60000000 }",
        "monitoring": 'prometheus_config { enable: true path: "/metrics" }',
    }
    for name, text in files.items():
        (tmp_path / f"{name}.config").write_text(text)
    options = ["--batching-parameters-file", str(tmp_path / "batching.config")]
    options += ["--monitoring-config-file", str(tmp_path / "monitoring.config"), "--rest-api-port", "0"]
    with started(tmp_path / "models.config", *options) as process:
        printed = read_until(process, "Listening on ")
        start = printed.index("ranker: versions 1, 2\n")
        assert printed[start + 1] == "  label stable: version 1\n"
        address, rest = (re.search(r"127\.0\.0\.1:\d+", line)[0] for line in (printed[-1], printed[-2]))

        def queue() -> str:
            with urllib.request.urlopen(f"http://{rest}/metrics", timeout=30) as response:
                return re.search(r"^mim_serving_queue_length (.*)$", response.read().decode(), re.MULTILINE)[1]

        assert queue() == "0.0"
        with Client(address, timeout=60) as client, ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(client.predict, "ranker", {"item_id": [7]}, signature="lookup", version=1)
            wait_until(lambda: queue() == "1.0")
            process.send_signal(signal.SIGTERM)
            np.testing.assert_array_equal(waiting.result()["embedding"], [[1.0, 2.0]])
        _, log = process.communicate(timeout=PATIENCE)
        assert (process.returncode, log) == (0, "Stopping: running requests are finished first.\n")


@pytest.mark.parametrize("option", ["model-config", "batching-parameters", "ssl-config", "monitoring-config"])
def test_a_file_that_is_wrong_is_one_line_and_exit_1(
    models: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.config"
    file.write_text("batch_sise { value: 8 }")
    source = [] if option == "model-config" else ["--models", str(models)]
    assert main([*source, f"--{option}-file", str(file), "--rest-api-port", "0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file} must be a tensorflow.serving.")
    assert "line:column 1:1" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --models --model-config-file is required"),
        (["--models", "a", "--model-config-file", "b"], "not allowed with argument"),
        (
            ["--models", "a", "--monitoring-config-file", "c"],
            "--monitoring-config-file: must come with --rest-api-port.",
        ),
        (["--models", "a", "--max-waiting", "-1"], "argument --max-waiting: must be 0 or more. Received: -1."),
    ],
)
def test_arguments_that_cannot_be(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


class Table(tf.Module):
    """As an exported model, large enough to be seen in memory: rows of 64 MB, an index of 32 MB, constants of 64 MB."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = tf.Variable(tf.ones([2**20, 16]))
        self.index = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, 0, empty_key=-1, deleted_key=-2)
        self.index.insert(tf.range(2**20, dtype=tf.int64), tf.range(2**20, dtype=tf.int64))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "item_id")])
    def lookup(self, item_id: tf.Tensor) -> dict[str, tf.Tensor]:
        constants = tf.constant(np.random.default_rng(0).random([2**20, 16], np.float32))
        row = self.index.lookup(item_id)
        return {"embedding": tf.gather(self.rows, row) + tf.gather(constants, row)}


@pytest.mark.slow
def test_new_versions_are_served_and_old_ones_leave_no_memory(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    tf.saved_model.save(table := Table(), str(tmp_path / "table" / "1"), signatures={"lookup": table.lookup})

    with started(tmp_path, "--poll-seconds", "0.05") as process:
        (address,) = re.findall(r"127\.0\.0\.1:\d+", read_until(process, "Listening on ")[-1])
        with Client(address, timeout=30) as client:
            held = []
            for version in range(1, 6):
                states = {**dict.fromkeys(range(1, version), "END"), version: "AVAILABLE"}
                wait_until(lambda states=states: client.model_status("table") == states)
                client.predict("table", {"item_id": [7]}, signature="lookup", version=version)
                held.append(resident(process.pid))
                publish(tmp_path / "table" / str(version), tmp_path / "table" / str(version + 1))
        assert max(held) - held[0] < 48e6, held  # half of the table; each version left behind would be one

        process.stderr.close()  # who reads the log is gone: the server ends all the same
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE)


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    with open(f"/proc/{process}/status", encoding="ascii") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_port_in_use_is_one_line_and_exit_1(server: Server, models: Path) -> None:
    command = [*COMMAND, "--models", str(models), "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=ENVIRONMENT)
    assert done.returncode == 1
    (line,) = errors_in(done.stderr)
    assert line.startswith(f"error: Cannot listen on 127.0.0.1:{server.port}: another server has the port")


def test_a_folder_without_models_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "readme").touch()
    assert main(["--models", str(tmp_path), "--port", "0"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: `models` must be a folder that holds")
    assert captured.err.count("\n") == 1


def test_help_shows_the_layout_and_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    for expected in (
        "stand-in",
        "<model>/<integer version>/saved_model.pb",
        "127.0.0.1",
        "8500",
        "picks a free one",
        "1.0",
    ):
        assert expected in shown


@pytest.mark.parametrize("port", ["65536", "8.5", "http"])
def test_a_port_that_cannot_be(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--models", "models", "--port", port])
    assert f"argument --port: must be an integer between 0 and 65535. Received: {port}." in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "often"])
def test_a_pause_that_cannot_be(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--models", "models", "--poll-seconds", seconds])
    assert f"argument --poll-seconds: must be 0 or more seconds. Received: {seconds}." in capsys.readouterr().err
