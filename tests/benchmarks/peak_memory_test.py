"""The memory of a command, against what a child of it is known to take."""

from pathlib import Path

import pytest

from benchmarks.peak_memory import run_module

MB = 2**20
CHILD = "held = b'x' * (300 * 2**20); import time; time.sleep(2)"


def test_children_count_and_what_ended_before_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parent.py").write_text(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert 300 * MB < run_module("parent") < 400 * MB


def test_what_stands_before_the_interpreter_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told.py").write_text(
        "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['WHO'])"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run_module("told", str(tmp_path / "answer"), before=["env", "WHO=me"])
    assert (tmp_path / "answer").read_text() == "me"


def test_a_command_that_fails_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match=r"no_such_module ended with 1\."):
        run_module("no_such_module")
