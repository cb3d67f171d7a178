"""A process that runs SavedModels: the C++ program or the Python script, which take the same commands."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorflow.core.framework import op_def_pb2

from mim_tf.export.gate.call_file import Call, Result, read_results, write_calls

_SHOWN = 2000  # characters of what a process said last

# TensorFlow writes some notes whatever its log level is.
_NOTES = re.compile(r"^(WARNING: All log messages before absl|[IWE]\d{4} ).*\n", re.MULTILINE)

# It must not compete for the accelerator with the process that exports, whose memory it would find taken.
# The Python script finds what lies beside it by its folder, which PYTHONSAFEPATH would take away.
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONSAFEPATH": ""}


class RunnerError(RuntimeError):
    """The process failed before its first call; the message is what it said."""


@dataclass(frozen=True)
class Runner:
    """How to start the process, a fresh one for each of the methods' calls.

    Args:
        command: program and first arguments.
        libraries: shared objects whose ops are loaded beside TensorFlow's own.
        timeout: seconds that the process may take.
    """

    command: Sequence[str]
    libraries: Sequence[Path] = ()
    timeout: float = 600.0

    def registered_ops(self) -> frozenset[str]:
        """The ops that TensorFlow and the libraries have.

        Raises:
            RunnerError: the process fails.
        """
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "ops"
            self._run("ops", str(path))
            ops = op_def_pb2.OpList.FromString(path.read_bytes())
        return frozenset(op.name for op in ops.op)

    def run(self, folder: Path, calls: Sequence[Call], options: Sequence[str] = ()) -> list[Result]:
        """Load a SavedModel and make `calls`, in their order: what one changes in the model, the next finds changed.

        Raises:
            RunnerError: the process fails, as where the model cannot be loaded.
        """
        with tempfile.TemporaryDirectory() as scratch:
            asked, answered = Path(scratch) / "calls", Path(scratch) / "results"
            write_calls(asked, calls)
            self._run("run", str(folder), str(asked), str(answered), *options)
            return read_results(answered)

    def _run(self, *arguments: str) -> None:
        libraries = [part for library in self.libraries for part in ("--library", str(library))]
        command = [*self.command, *libraries, *arguments]
        try:
            ended = subprocess.run(
                command, env=os.environ | _ENVIRONMENT, capture_output=True, timeout=self.timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RunnerError(f"the process took more than {self.timeout:g} s") from error
        if ended.returncode:
            said = _NOTES.sub("", ended.stderr.decode(errors="replace")).strip()
            raise RunnerError(f"the process ended with {ended.returncode}: {said[-_SHOWN:]}")
