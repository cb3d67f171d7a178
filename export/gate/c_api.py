"""TensorFlow's C API, through a small C++ program that is built where there is a compiler."""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.errors import ExportError, MimError
from mim_tf.export.gate.case import Case
from mim_tf.export.gate.runner import Runner, RunnerError
from mim_tf.export.gate.saved_graph import SavedGraph
from mim_tf.export.gate.text_ops import text_libraries

_SOURCE = Path(__file__).with_name("run_saved_model.cc")


class NoProgramError(MimError, RuntimeError):
    """The C++ program cannot be built on this machine; the message says why."""


def c_api_runner(*, text_ops: bool, timeout: float = 600.0) -> Runner:
    """The C++ program, which is built the first time.

    Args:
        text_ops: whether TF Text's ops are loaded.
        timeout: seconds.

    Raises:
        NoProgramError: it cannot be built here.
    """
    return Runner([str(_program())], text_libraries() if text_ops else (), timeout)


def measure(
    folder: Path, case: Case, repeat: int, *, intra_threads: int = 0, inter_threads: int = 0, text_ops: bool = False
) -> np.ndarray:
    """How long a call takes by the C API alone: no server, no network, no Python.

    Args:
        folder: of the SavedModel.
        case: the call; what it expects is not looked at.
        repeat: number of calls that are measured, after ten that are not.
        intra_threads: threads within an op, at most 127; 0 leaves them to TensorFlow.
        inter_threads: threads between ops, likewise.
        text_ops: whether the model uses TF Text's ops.

    Returns:
        [repeat] float64 microseconds, in the order of the calls.

    Raises:
        ExportError: the case does not fit the model, or the call fails.
        NoProgramError: there is no C++ compiler.
    """
    if repeat < 1:
        raise ValueError(f"`repeat` must be at least 1. Received: {repeat}.")
    options = {"--repeat": repeat, "--intra": intra_threads, "--inter": inter_threads}
    arguments = [str(part) for option in options.items() for part in option]
    try:
        call = SavedGraph.read(folder).call(case)
        (result,) = c_api_runner(text_ops=text_ops).run(folder, [call], arguments)
    except (RunnerError, ValueError) as error:
        raise ExportError(f"{case.signature} of {folder} cannot be measured: {error}") from error
    if result.error:
        raise ExportError(f"{case.signature} of {folder} cannot be measured: {result.error}")
    return result.outputs["microseconds"]


def _program() -> Path:
    """The program for this TensorFlow, from the cache or newly built."""
    target = _cache() / f"run_saved_model-{_fingerprint()}"
    if not target.exists():
        _build(_compiler(), target)
    return target


def _compiler() -> list[str]:
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [["g++"], ["c++"]]:
        if shutil.which(command[0]):
            return command
    raise NoProgramError(f"there is no C++ compiler {shlex.join(chosen) or 'g++ or c++'}")


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mim_tf"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _private_folder()
    return folder if os.access(folder, os.W_OK) else _private_folder()


@functools.cache
def _private_folder() -> Path:
    """Of this user alone, for what lies in it is run."""
    return Path(tempfile.mkdtemp(prefix="mim_tf-"))


def _fingerprint() -> str:
    """Of all that the program is made of: it also holds the path of TensorFlow's libraries."""
    parts = (_SOURCE.read_bytes(), tf.__version__.encode(), tf.sysconfig.get_lib().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _build(compiler: list[str], target: Path) -> None:
    """Compile aside and rename: another process may build, too."""
    libraries = tf.sysconfig.get_lib()
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        built = Path(scratch) / target.name
        command = [*compiler, "-std=c++17", "-O2", f"-I{tf.sysconfig.get_include()}", str(_SOURCE), "-o", str(built)]
        command += [f"-L{libraries}", f"-Wl,--no-as-needed,-rpath,{libraries}"]
        command += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise NoProgramError(f"{shlex.join(compiler)} cannot build the program: {ended.stderr.strip()[-500:]}")
        built.rename(target)
