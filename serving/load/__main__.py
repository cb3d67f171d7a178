"""`python -m mim_tf.serving.load`: how long answers take at a given rate of requests."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mim_tf.errors import MimError

_EPILOG = """\
Requests arrive as a Poisson process, each is sent when it is due whether or not earlier ones were answered, and its
latency counts from then: a server that stands still for a second shows it in all requests that came meanwhile. They are
the model's own warm-up records, over and over, or others of the size given, drawn from their rows.

  steady   nothing else happens; with several --rate, one after another, each after 3 seconds that are not measured
  upsert   with --store and --upserts-per-second: a process of its own changes the table meanwhile, in free rows at
           its end, under ids that no shop has
  reload   with --models: a copy of the newest version is published as the next one meanwhile, and taken away at the
           end; a run that was killed leaves it there: remove it by hand. Either change brings back the table as it was
           exported, until the real-time process has sent what is newer

Where a phase fails, those before it are reported, and the exit code is 1.

Percentiles are of the requests that were answered or whose time was up; other errors are counted. Where the report says
that the generator was slow, run it on a machine of its own, or on several with a part of the rate each.

example:
  python -m mim_tf.serving.load --server 127.0.0.1:8500 --model ranker --signature rank --rate 50 --seconds 30 \\
      --requests models/ranker/1/assets.extra/tf_serving_warmup_requests --candidates 200 --out build/load
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load test.

    Returns:
        The exit code: 1 if it cannot be run, or not to its end.
    """
    # TensorFlow and gRPC read these when they are imported. A GPU would be the server's.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    options = _parse(arguments)
    # Shells let what a script starts in the background ignore Ctrl-C, and asyncio then gives a run no way to end.
    of_ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        from mim_tf.serving.load.run import run_load_test

        run_load_test(options)
    except (MimError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, of_ctrl_c)
    return 0


def _interrupt(*_: object) -> None:
    """As Ctrl-C: a published copy is taken away first."""
    signal.raise_signal(signal.SIGINT)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mim_tf.serving.load",
        description="Load test of a served model: latency percentiles, throughput and errors.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_load(parser)
    _add_disturbances(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where report.json and latency.png are written")
    options = parser.parse_args(arguments)
    if (options.store is None) != (options.upserts_per_second is None):
        parser.error("--store and --upserts-per-second must be given together, or none of them.")
    if options.store is None and (options.upsert_rows is not None or options.table is not None):
        parser.error("--upsert-rows and --table need --store.")
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key must be given together, or none of them.")
    return options


def _add_load(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--server", required=True, metavar="HOST:PORT", help="the server's gRPC port")
    add("--tls-ca", type=Path, metavar="FILE", help="authorities of the server's certificate, PEM: encrypts")
    add("--tls-cert", type=Path, metavar="FILE", help="the client's certificate, PEM: encrypts, and says who calls")
    add("--tls-key", type=Path, metavar="FILE", help="and its private key")
    add("--model", required=True, help="name of the model")
    add("--signature", required=True, help="which is called")
    add("--requests", required=True, type=Path, metavar="FILE", help="the model's warm-up records")
    add("--users", type=_count, metavar="N", help="rows of a request (default: as recorded)")
    add("--candidates", type=_count, metavar="N", help="candidates of each user (default: as recorded)")
    add("--history", type=_count, metavar="N", help="behaviours of each user (default: as recorded)")
    add(
        "--rate",
        required=True,
        type=_positive,
        action="append",
        help="requests per second; may be repeated: upsert and reload run at the first",
    )
    add("--seconds", type=_positive, default=30.0, help="of each phase (default: %(default)s)")
    add("--timeout", type=_positive, default=5.0, help="seconds until a request has failed (default: %(default)s)")
    add("--seed", type=int, default=0, help="of arrivals and drawn requests (default: %(default)s)")


def _add_disturbances(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--store", metavar="PATH", help="the embedding store of the served table, which tells its free rows")
    add("--upserts-per-second", type=_positive, metavar="RATE", help="calls of `upsert`, one after another")
    add("--upsert-rows", type=_count, metavar="N", help="rows of each call (default: 100)")
    add("--table", metavar="MODEL", help="the model that holds the table (default: that of --model)")
    add("--models", type=Path, metavar="FOLDER", help="the served folder of models, on this machine")


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more. Received: {text}.")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number. Received: {text}.")
    return number


if __name__ == "__main__":
    sys.exit(main())
