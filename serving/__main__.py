"""`python -m mim_tf.serving`: starts the stand-in server."""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mim_tf.errors import ServingError

if TYPE_CHECKING:
    from mim_tf.serving.server import Server

_BANNER = (
    "mim_tf.serving is a stand-in for TF Serving, for laptops and tests. In production run tensorflow_model_server."
)
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# Bytes that stay at the heap's end, above which memory is mapped (the most there may be), that it grows by; and one
# arena, since those of threads are cut into pieces of 64 MB.
_MALLOPT = {-1: 2**30, -3: 2**25, -2: 2**26, -8: 1}
_EPILOG = """\
FOLDER is laid out as <model>/<integer version>/saved_model.pb, like /models in the TF Serving image. The highest
version of each model is served; names that are no integers are ignored. A version that appears later, or goes, is
noticed while the server runs, and so is a change of --model-config-file. SIGTERM and Ctrl-C finish the requests that
were taken in; while the first models are loaded, they end the process at once. Serve only models you trust: a
SavedModel is a program.

The files are TF Serving's own, in protobuf's text format: ModelServerConfig, BatchingParameters, SSLConfig,
MonitoringConfig. What the stand-in does not have in them, it refuses by name.

example:
  python -m mim_tf.serving --models models --port 8500 --rest-api-port 8501
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT.

    Returns:
        The exit code: 1 if the server cannot start.
    """
    options = _parse(arguments)
    print(_BANNER, flush=True)
    try:
        _serve(options)
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mim_tf.serving",
        description=_BANNER,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--models", metavar="FOLDER", help="folder that holds the models")
    source.add_argument("--model-config-file", metavar="FILE", help="models, their versions and labels")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", default=8500, type=_port, help="gRPC port (default: %(default)s); 0 picks a free one")
    parser.add_argument(
        "--rest-api-port", type=_port, metavar="PORT", help="REST port, without TLS; 0 picks a free one"
    )
    parser.add_argument("--ssl-config-file", metavar="FILE", help="key and certificates for TLS on the gRPC port")
    parser.add_argument("--batching-parameters-file", metavar="FILE", help="joins requests that come at the same time")
    parser.add_argument("--monitoring-config-file", metavar="FILE", help="Prometheus metrics on the REST port")
    parser.add_argument(
        "--max-waiting",
        default=256,
        type=_count,
        metavar="REQUESTS",
        help="gRPC requests that wait while all threads are busy (default: %(default)s); more are refused at once",
    )
    parser.add_argument(
        "--poll-seconds",
        default=1.0,
        type=_seconds,
        metavar="SECONDS",
        help="pause between two looks for changes (default: %(default)s); 0 never looks again",
    )
    options = parser.parse_args(arguments)
    if options.monitoring_config_file is not None and options.rest_api_port is None:
        parser.error("argument --monitoring-config-file: must come with --rest-api-port.")
    return options


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be an integer between 0 and 65535. Received: {text}.")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be 0 or more. Received: {text}.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"must be 0 or more seconds. Received: {text}.")
    return seconds


def _serve(options: argparse.Namespace) -> None:
    # Read when TensorFlow and gRPC are imported. Nothing is lost: what goes wrong also comes back as an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The allocator of TensorFlow's oneDNN never gives memory back: a version that is replaced would stay in it.
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "true")
    _keep_freed_memory()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("mim_tf.serving").setLevel(logging.INFO)  # says which version is served
    # A traceback for every message that is none: whoever reaches the port could fill the log.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    with _ending_at_once():
        server = _server(options)
        # The server is closed, too, if who reads what is printed is gone.
        with _stop_signal() as wait_for_stop, server:
            _announce(server)
            wait_for_stop()
            print("Stopping: running requests are finished first.", file=sys.stderr)


def _keep_freed_memory() -> None:
    """Has glibc hand a request's memory to the next one: given back, each page would be cleared anew.

    Of a ranking with tensors of tens of MB that is a third of its time. What a replaced version leaves is given back
    by hand (`free_memory`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    if mallopt is not None:
        for option, value in _MALLOPT.items():
            mallopt(option, value)


@contextmanager
def _ending_at_once() -> Iterator[None]:
    """Lets SIGTERM and Ctrl-C end the process even while TensorFlow loads, when no Python handler would be asked."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _stop_signal() -> Iterator[Callable[[], None]]:
    """Notes SIGTERM and Ctrl-C from now on; what it gives waits for the first, after which another ends the process.

    By a socket: a Python handler alone can be missed, when the signal comes just before the main thread goes to sleep,
    and `sigwait` needs the signals blocked in all threads, those of TensorFlow's loading, too.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)  # as `set_wakeup_fd` demands

    def wait() -> None:
        reading.recv(1)
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    with reading, writing:
        before = signal.set_wakeup_fd(writing.fileno())
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda *_: None)  # the socket gets the signal's number
        try:
            yield wait
        finally:
            signal.set_wakeup_fd(before)


def _server(options: argparse.Namespace) -> Server:
    """Reads the configuration and loads the models."""
    from mim_tf.serving.server import ModelConfigFile, Server
    from mim_tf.serving.server.batching_parameters import BatchingParameters
    from mim_tf.serving.server.metrics import metrics_path
    from mim_tf.serving.server.tls import server_credentials

    # What the imports made stays: looking through it for a replaced version's garbage would keep requests waiting.
    gc.freeze()
    batching, ssl = options.batching_parameters_file, options.ssl_config_file
    monitoring = options.monitoring_config_file
    return Server(
        options.models if options.models is not None else ModelConfigFile(options.model_config_file),
        host=options.host,
        port=options.port,
        rest_port=options.rest_api_port,
        poll_seconds=options.poll_seconds,
        max_waiting=options.max_waiting,
        batching=BatchingParameters.read(batching) if batching is not None else None,
        credentials=server_credentials(ssl) if ssl is not None else None,
        metrics_path=metrics_path(monitoring) if monitoring is not None else None,
    )


def _announce(server: Server) -> None:
    """Prints what is served, and where."""
    for name, versions in server.all_versions.items():
        print(f"{name}: version{'s' * (len(versions) > 1)} {', '.join(map(str, versions))}")
        for label, version in server.labels.get(name, {}).items():
            print(f"  label {label}: version {version}")
        for key, signature in server.signatures.get(name, {}).items():
            print(f"  {key}{signature}")
    if server.rest_port is not None:
        print(f"REST on {server.host}:{server.rest_port}.")
    print(f"Listening on {server.host}:{server.port} (gRPC{', TLS' * server.secure}).", flush=True)


if __name__ == "__main__":
    sys.exit(main())
