"""Servers to be asked, each a process of its own: the stand-in, and TF Serving where there is one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client

_VARIABLE, _NAME = "TENSORFLOW_MODEL_SERVER", "tensorflow_model_server"
_START = 120.0  # seconds until all models are loaded


class Addresses(NamedTuple):
    """Where a server listens, `host:port`."""

    grpc: str
    rest: str


@contextmanager
def stand_in(models: Path) -> Iterator[Addresses]:
    """The stand-in server on a folder of models."""
    with _free_ports() as (grpc, rest):
        command = [sys.executable, "-m", "mim_tf.serving", "--models", str(models), "--poll-seconds", "0"]
        options = ["--port", grpc, "--rest-api-port", rest]
    with _started([*command, *options], models, Addresses(f"127.0.0.1:{grpc}", f"127.0.0.1:{rest}")) as addresses:
        yield addresses


@contextmanager
def model_server(models: Path) -> Iterator[Addresses]:
    """tensorflow_model_server on a folder of models.

    Raises:
        ServingError: there is none, or it does not serve the models.
    """
    program = find_model_server()
    if program is None:
        raise ServingError(f"there is no {_NAME}: put it on the PATH, or name it by {_VARIABLE}.")
    with tempfile.TemporaryDirectory() as folder, _free_ports() as (grpc, rest):
        config = Path(folder) / "models.config"
        entries = [
            f'config {{ name: "{model.name}" base_path: "{model.resolve()}" model_platform: "tensorflow" }}'
            for model in _served(models)
        ]
        config.write_text(f"model_config_list {{ {' '.join(entries)} }}\n", encoding="utf-8")
        options = [f"--port={grpc}", f"--rest_api_port={rest}", f"--model_config_file={config}"]
        addresses = Addresses(f"127.0.0.1:{grpc}", f"127.0.0.1:{rest}")
        with _started([program, *options], models, addresses):
            yield addresses


def find_model_server() -> str | None:
    """The program of TF Serving: what TENSORFLOW_MODEL_SERVER names, or what is on the PATH."""
    return os.environ.get(_VARIABLE) or shutil.which(_NAME)


def _served(models: Path) -> list[Path]:
    return sorted(path for path in models.iterdir() if path.is_dir())


@contextmanager
def _started(command: Sequence[str], models: Path, addresses: Addresses) -> Iterator[Addresses]:
    """A server that has all models loaded."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with Client(addresses.grpc) as client:
                for model in _served(models):
                    client.wait_until_ready(model.name, timeout=_START)
            yield addresses
        finally:
            process.terminate()


@contextmanager
def _free_ports() -> Iterator[tuple[str, str]]:
    """Two ports that nobody listens at; taken by nobody else until the block ends, as good as certain after."""
    with socket.socket() as one, socket.socket() as other:
        for taken in (one, other):
            taken.bind(("127.0.0.1", 0))
        yield str(one.getsockname()[1]), str(other.getsockname()[1])
