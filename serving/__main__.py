"""`python -m mim_tf.serving`: starts the stand-in server."""

from __future__ import annotations

import argparse
import gc
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mim_tf.errors import ServingError

if TYPE_CHECKING:
    from mim_tf.serving.server import Server

_BANNER = (
    "mim_tf.serving is a stand-in for TF Serving, for laptops and tests. In production run tensorflow_model_server."
)
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_EPILOG = """\
FOLDER is laid out as <model>/<integer version>/saved_model.pb, like /models in the TF Serving image. The highest
version of each model is served; names that are no integers are ignored. A version that appears later, or goes, is
noticed while the server runs. SIGTERM and Ctrl-C finish running requests. Serve only models you trust: a SavedModel is
a program.

example:
  python -m mim_tf.serving --models models --port 8500
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
    parser.add_argument("--models", required=True, metavar="FOLDER", help="folder that holds the models")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine only)"
    )
    parser.add_argument("--port", default=8500, type=_port, help="gRPC port (default: %(default)s); 0 picks a free one")
    parser.add_argument(
        "--poll-seconds",
        default=1.0,
        type=_seconds,
        metavar="SECONDS",
        help="pause between two looks for new versions (default: %(default)s); 0 never looks again",
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be an integer between 0 and 65535. Received: {text}.")
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
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("mim_tf.serving").setLevel(logging.INFO)  # says which version is served
    # Blocked before the first thread is made, so that no thread takes a signal: it waits until `sigwait` asks for it.
    # A Python handler can be missed instead, when the signal comes just before the main thread goes to sleep.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        from mim_tf.serving.server import Server

        # What the imports made stays: looking through it for a replaced version's garbage would keep requests waiting.
        gc.freeze()
        server = Server(options.models, host=options.host, port=options.port, poll_seconds=options.poll_seconds)
        with server:  # stops it, too, if who reads what is printed is gone
            _announce(server)
            signal.sigwait(_STOP_SIGNALS)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)  # a second signal ends the process at once
            print("Stopping: running requests are finished first.", file=sys.stderr)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


def _announce(server: Server) -> None:
    """Prints what is served, and where."""
    for name, version in server.versions.items():
        print(f"{name}: version {version}")
        for key, signature in server.signatures.get(name, {}).items():
            print(f"  {key}{signature}")
    print(f"Listening on {server.host}:{server.port} (gRPC).", flush=True)


if __name__ == "__main__":
    sys.exit(main())
