"""The C++ program: where it is built, and what it measures."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.errors import ExportError
from mim_tf.export.gate import Case, measure
from mim_tf.export.gate.c_api import NoProgramError, c_api_runner
from mim_tf.export.gate.call_file import read_results, write_calls
from mim_tf.export.gate.runner import Runner
from mim_tf.export.gate.saved_graph import SavedGraph
from tests.export.gate.toy_models import save_function, save_scorer, scorer_cases


def compiler(path: Path, script: str) -> str:
    """A stand-in for one, which finds the file it must write after `-o`."""
    path.write_text(f'#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = -o ] && out="$2"; shift; done\n{script}')
    path.chmod(0o755)
    return str(path)


def test_it_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", compiler(tmp_path / "cxx", f'echo built >> {tmp_path}/log\ntouch "$out"\n'))
    first = c_api_runner(text_ops=False)
    monkeypatch.setenv("CXX", str(tmp_path / "absent"))
    assert c_api_runner(text_ops=False) == first
    assert Path(first.command[0]).parent == tmp_path / "cache" / "mim_tf"
    assert (tmp_path / "log").read_text() == "built\n"
    assert [path.name for path in (tmp_path / "cache" / "mim_tf").iterdir()] == [Path(first.command[0]).name]


def test_without_a_folder_of_its_own_it_is_built_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()  # no folder can be made in a file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", compiler(tmp_path / "cxx", 'touch "$out"\n'))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = Path(c_api_runner(text_ops=False).command[0])
    assert program.is_file()
    assert program.parent.parent == tmp_path
    assert program.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, r"^there is no C\+\+ compiler \S+/cxx$"),
        ("echo no such header >&2\nexit 1\n", r"^\S+/cxx cannot build the program: no such header$"),
    ],
)
def test_where_it_cannot_be_built_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, message: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(tmp_path / "cxx") if script is None else compiler(tmp_path / "cxx", script))
    with pytest.raises(NoProgramError, match=message):
        c_api_runner(text_ops=False)


@pytest.mark.usefixtures("program")
def test_a_call_is_measured_as_often_as_asked_after_a_warm_up(tmp_path: Path) -> None:
    """The model counts its calls and fails after 10 + 7: the latencies of 7 are all that can be had."""
    module = tf.Module()
    module.calls = tf.Variable(0, dtype=tf.int64)
    spec = tf.TensorSpec([None], tf.int64, "last")

    @tf.function(input_signature=[spec])
    def count(last: tf.Tensor) -> dict[str, tf.Tensor]:
        calls = module.calls.assign_add(1)
        with tf.control_dependencies([tf.debugging.Assert(calls <= last[0], ["called too often"])]):
            return {"calls": calls[None]}

    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"count": count})
    last = np.array([17])
    case = Case("count", {"last": last}, {"calls": last})
    microseconds = measure(tmp_path / "model", case._replace(expected={}), 7, intra_threads=1, inter_threads=1)
    assert (microseconds.shape, microseconds.dtype) == ((7,), np.float64)
    assert (microseconds > 0).all()
    with pytest.raises(ExportError, match=r"count of \S+ cannot be measured: INVALID_ARGUMENT: .*called too often"):
        measure(tmp_path / "model", case, 8)


def test_quantiles_are_printed(program: Runner, tmp_path: Path) -> None:
    folder = save_scorer(tmp_path / "model")
    write_calls(tmp_path / "calls", [SavedGraph.read(folder).call(scorer_cases()[0])])
    command = [*program.command, "run", folder, tmp_path / "calls", tmp_path / "results", "--repeat", "200"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    (result,) = read_results(tmp_path / "results")
    ordered = np.sort(result.outputs["microseconds"])
    # 100 of 200 calls are not above the 100th, and 198 not above the 198th.
    assert printed == f"predict p50 {ordered[99]:.1f} us, p99 {ordered[197]:.1f} us\n"


@pytest.mark.usefixtures("program")
def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    spec = tf.TensorSpec([None], tf.float32)
    folder = save_function(tmp_path / "model", lambda x: {"y": x * 2}, x=spec)
    case = Case("serving_default", {"x": np.zeros([1], np.float32)}, {"y": np.zeros([1], np.float32)})
    for threads in (-1, 128):
        with pytest.raises(ExportError, match=rf"`--inter` must be 0 to 127\. Received: {threads}\."):
            measure(folder, case, 1, inter_threads=threads)
    assert len(measure(folder, case, 1, intra_threads=127, inter_threads=127)) == 1
    with pytest.raises(ValueError, match=r"`repeat` must be at least 1\. Received: 0\."):
        measure(folder, case, 0)
    with pytest.raises(ExportError, match=r"cannot be measured: `signature` must be one of serving_default"):
        measure(folder, case._replace(signature="rank"), 1)
