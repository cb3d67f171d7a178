"""`python -m mim_tf.serving.load`, against the stand-in."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import model_pb2, predict_pb2

from mim_tf.serving.load.__main__ import main
from mim_tf.serving.server import Server
from tests.serving.certificates import Authority
from tests.serving.load.conftest import ServedTable
from tests.serving.load.records import write_records
from tests.serving.publishing import wait_until

Serve = Callable[..., ServedTable]
# As a user runs it: without the log level that the tests set for themselves.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    inputs = {"item_id": tf.make_tensor_proto(np.array([3, 4]))}
    spec = model_pb2.ModelSpec(name="table", signature_name="lookup")
    return write_records(tmp_path / "records", [predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)])


def options(table: ServedTable, records: Path, *more: str) -> list[str]:
    where = ["--server", table.address, "--model", "table", "--signature", "lookup", "--requests", str(records)]
    return [*where, "--rate", "50", "--seconds", "1", "--timeout", "60", *more]


@pytest.mark.slow
def test_all_phases(serve_table: Serve, records: Path, tmp_path: Path) -> None:
    """As a user runs it, in a process of its own."""
    table = serve_table(spare=40)
    everything = ["--rate", "100", "--users", "7", "--out", str(tmp_path / "out"), "--models", str(table.models)]
    upserts = ["--store", str(table.store_path), "--upserts-per-second", "50", "--upsert-rows", "20"]
    command = [sys.executable, "-m", "mim_tf.serving.load", *options(table, records, *everything, *upserts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:5]] == [
        ["steady", "50/s"],
        ["steady", "100/s"],
        ["upsert", "50/s"],
        ["reload", "50/s"],
    ]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["seconds"], report["seed"], report["left_out"], report["failed"]) == (1.0, 0, [], None)
    for phase in report["phases"]:
        assert phase["sent"] == phase["answered"] > 20
        assert 0 < phase["p50"] <= phase["p99"] <= phase["longest"]
    upsert, reload = (phase["notes"] for phase in report["phases"][2:])
    assert upsert["upserts"] > 0
    assert reload["load_seconds"] > 0
    assert sorted(path.name for path in (table.models / "table").iterdir()) == ["1"]
    np.testing.assert_array_equal(table.held(np.arange(10))[:, 0], np.arange(10))
    with Image.open(tmp_path / "out" / "latency.png") as picture:
        assert picture.size == (1100, 1100)


def stop_when(happens: Callable[[], bool], given: list[str], *, in_background: bool) -> None:
    """SIGTERM; then wait until all have closed what errors are written to, so for the run's other processes, too.

    Shells that run a script let what it starts in the background ignore Ctrl-C.
    """
    ignoring = ["env", "--ignore-signal=INT"] if in_background else []
    command = [*ignoring, sys.executable, "-m", "mim_tf.serving.load", *given]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT)
    try:
        wait_until(happens)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, error) == (130, b"interrupted.\n")


@pytest.mark.slow
def test_a_run_that_is_stopped_stops_its_upserts(serve_table: Serve, records: Path) -> None:
    table = serve_table(spare=40)
    upserts = ["--store", str(table.store_path), "--upserts-per-second", "50", "--upsert-rows", "20", "--seconds", "8"]
    stop_when(lambda: table.state()[1] > 0, options(table, records, *upserts), in_background=False)
    np.testing.assert_array_equal(table.held(np.arange(10))[:, 0], np.arange(10))


@pytest.mark.slow
@pytest.mark.parametrize("in_background", [False, True])
def test_a_run_that_is_stopped_takes_its_copy_away(serve_table: Serve, records: Path, in_background: bool) -> None:
    """While the server loads it, or soon after: once it is loaded, a run that is late already is over."""
    table = serve_table()
    reload = options(table, records, "--models", str(table.models), "--seconds", "4")
    stop_when((table.models / "table" / "2").exists, reload, in_background=in_background)
    assert sorted(path.name for path in (table.models / "table").iterdir()) == ["1"]


def test_phases_that_were_not_asked_for_are_named(
    serve_table: Serve, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(serve_table(), records)) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "upsert was left out: it needs --store and --upserts-per-second.",
        "reload was left out: it needs --models.",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--signature", "rank"], "must hold requests of the signature 'rank'. There are those of: lookup."),
        (["--candidates", "5"], "`candidates` must be left out: the recorded requests have none."),
        pytest.param(
            ["--store", "nowhere", "--upserts-per-second", "1"],
            "nowhere is no embedding store",
            marks=pytest.mark.slow,  # another process says so
        ),
        (["--models", "nowhere"], "`models` must be the served folder, with a version of table. Received: nowhere."),
        (["--tls-ca", "nowhere"], "`tls.roots` must be a PEM file of certificates. Received: nowhere"),
    ],
)
def test_what_can_be_mended_is_one_line_and_exit_1(
    serve_table: Serve, records: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(options(serve_table(), records, *more)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_a_phase_that_fails_is_named_and_those_before_it_are_reported(
    serve_table: Serve, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was killed has left its copy behind."""
    table, out = serve_table(), tmp_path / "out"
    (table.models / "table" / "2.load_test").mkdir()
    assert main(options(table, records, "--models", str(table.models), "--out", str(out))) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[1].split()[:2] == ["steady", "50/s"]
    assert told.err.startswith("error: the phase reload failed: ")
    report = json.loads((out / "report.json").read_text())
    assert [phase["phase"] for phase in report["phases"]] == ["steady"]
    assert report["failed"] in told.err


def test_a_report_that_cannot_be_written_is_known_before_the_load(
    records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No server is there, which would be the next thing that fails."""
    needed = ["--server", "127.0.0.1:1", "--model", "m", "--signature", "s", "--rate", "1"]
    assert main([*needed, "--requests", str(records), "--out", str(records)]) == 1
    assert "File exists" in capsys.readouterr().err


def test_an_encrypted_connection(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(tmp_path, "ca")
    server, caller = authority.sign("server", "127.0.0.1"), authority.sign("caller")
    credentials = grpc.ssl_server_credentials([server.read()], authority.roots.read_bytes(), require_client_auth=True)
    spec = model_pb2.ModelSpec(name="ranker", signature_name="lookup")
    request = predict_pb2.PredictRequest(model_spec=spec, inputs={"item_id": tf.make_tensor_proto(np.array([7]))})
    records = write_records(tmp_path / "records", [request])
    load = ["--model", "ranker", "--signature", "lookup", "--requests", str(records), "--rate", "50", "--seconds", "1"]
    tls = ["--tls-ca", str(authority.roots), "--tls-cert", str(caller.certificate), "--tls-key", str(caller.key)]
    with Server(folder.parent, port=0, credentials=credentials) as served:
        assert main(["--server", f"127.0.0.1:{served.port}", *load, *tls]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("none")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rate", "0"], "argument --rate: must be a positive number. Received: 0."),
        (["--rate", "often"], "argument --rate: must be a positive number. Received: often."),
        (["--users", "1.5"], "argument --users: must be an integer of 1 or more. Received: 1.5."),
        (["--store", "store"], "--store and --upserts-per-second must be given together"),
        (["--table", "table"], "--upsert-rows and --table need --store"),
        (["--tls-key", "key"], "--tls-cert and --tls-key must be given together"),
    ],
)
def test_what_cannot_be_asked_for(capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    needed = ["--server", "s:1", "--model", "m", "--signature", "s", "--requests", "r", "--rate", "1"]
    with pytest.raises(SystemExit, match="2"):
        main([*needed, *more])
    assert message in capsys.readouterr().err
