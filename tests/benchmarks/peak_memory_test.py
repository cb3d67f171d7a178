"""The memory of a command, against what a child of it is known to take."""

from pathlib import Path

import pytest

from benchmarks import peak_memory
from benchmarks.peak_memory import run_module

MB = 2**20
# Holds 300 MB until a file of its process' number is there, or a minute.
CHILD = """
import os, pathlib, sys, time
held = b"x" * (300 * 2**20)
end = time.monotonic() + 60
while not pathlib.Path(sys.argv[1], str(os.getpid())).exists() and time.monotonic() < end:
    time.sleep(0.05)
"""
PARENT = f"""
import subprocess, sys
for _ in range(2):
    subprocess.run([sys.executable, "-c", {CHILD!r}, sys.argv[1]], check=True)
"""


def test_children_count_and_what_ended_before_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_memory = peak_memory._own_memory

    def look_and_tell(process: int) -> int:
        memory = own_memory(process)
        if memory > 300 * MB:
            (tmp_path / str(process)).touch()
        return memory

    monkeypatch.setattr(peak_memory, "_own_memory", look_and_tell)
    (tmp_path / "parent.py").write_text(PARENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    peak = run_module("parent", str(tmp_path))
    assert len([path for path in tmp_path.iterdir() if path.name.isdecimal()]) == 2, "both children were seen"
    assert 300 * MB < peak < 400 * MB


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
