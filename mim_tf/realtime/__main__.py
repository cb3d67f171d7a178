"""`python -m mim_tf.realtime`: new items into the store and onto the servers, as they appear."""

from __future__ import annotations

import argparse
import shlex
import signal
import threading
from pathlib import Path

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.settings import Settings
from mim_tf.workdir import StageFolder, exclusive

_EPILOG = """\
An item is a JSON object with the columns of `data.items`, on a line of a file in the folder `realtime.source` or in a
message of the topic kafka://broker:port/topic:

  {"item_id": 7, "title": "Red mug", "image": "<base64>", "timestamp": 1743984000.5}

`image_path` may stand in place of `image`, a path in the folder. With `timestamp` (optional; seconds UTC or ISO 8601)
an older event never undoes a newer one. A window of at most `realtime.window_seconds` is one commit of the store; then
each of `realtime.servers` gets what it lacks. What can never be taken in goes to W/realtime/dead_letters.jsonl with the
reason. Killed at any moment and started again, it loses nothing. SIGTERM and Ctrl-C commit what was read.

example:
  python -m mim_tf.realtime --config my.yaml --workdir W --set realtime.source=incoming \\
      --set 'realtime.servers=["127.0.0.1:8500/ranker"]' --set realtime.metrics_port=9090
"""
_LAST_WORD = 10.0  # seconds for servers to get the last commit, and for a compaction to end


def main() -> None:
    """Run the command."""
    parser = stage_parser("realtime", "Take new and changed items in, as they appear.", _EPILOG)
    parser.add_argument("--once", action="store_true", help="end when everything there was taken in and sent")
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="folder for progress and dead letters (W/realtime); one per process where several share a Kafka topic",
    )
    arguments = parser.parse_args()
    settings, workdir = settings_of(arguments), Path(arguments.workdir)
    StageFolder(workdir, "represent").require(settings, shlex.join(options_of(arguments)))
    set_keras_mode(legacy=False)
    state = Path(arguments.state) if arguments.state else workdir / "realtime"
    state.mkdir(parents=True, exist_ok=True)
    with exclusive(state):
        _run(settings, workdir, state, arguments)


def _run(settings: Settings, workdir: Path, state: Path, arguments: argparse.Namespace) -> None:
    from mim_tf.realtime.assembly import assemble

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    options = settings.realtime
    with assemble(settings, workdir, state, stopped.is_set) as loop:
        where = f"{options.window_seconds:g} s or {options.window_rows:,} events"
        print(f"Reading {options.source}; a commit every {where}; {len(options.servers)} server(s).", flush=True)
        loop.run(once=arguments.once)
        reached = not options.servers or loop.wait_for_servers(_LAST_WORD)
    told = ", ".join(f"{number:,} {result}" for result, number in sorted(loop.counts.items())) or "no events"
    print(f"Ended: {told}." + ("" if reached else " Not all servers have the last commit."), flush=True)


if __name__ == "__main__":
    run_command(main)
