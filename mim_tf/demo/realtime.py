"""`python -m mim_tf.demo.realtime`: new products arrive while a server ranks, and become rankable one by one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mim_tf.commandline import run_command
from mim_tf.demo.chain import DemoChain, demo_parser, started
from mim_tf.errors import ServingError

_EPILOG = """\
Makes the demo's shop, stages and export if they are not there, starts a server and the real-time process, and lets
new products arrive as files while ranking requests go on. Each turns from a miss, which is ranked without its content,
into a score with its embedding; how long that took is drawn into W/realtime/freshness.png. If some never do, the exit
code is 1.

example:
  python -m mim_tf.demo.realtime --workdir build/demo --items-per-second 50
"""
_IDS_A_SECOND = 1000  # apart: more than arrive in one


def main() -> None:
    """Run the command."""
    parser = demo_parser("demo.realtime", "New items become rankable while a server ranks.", _EPILOG)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long items arrive (%(default)s)")
    parser.add_argument("--items-per-second", type=float, default=5.0, help="that arrive (%(default)s)")
    parser.add_argument("--requests-per-second", type=float, default=20.0, help="that rank (%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no line for each item")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped on the way out
    chain = DemoChain(arguments)
    chain.make()
    rates = (arguments.seconds, arguments.items_per_second, arguments.requests_per_second)
    with chain.server() as address, _realtime(chain, address) as incoming:
        _show(chain, address, incoming, rates, quiet=arguments.quiet)


@contextmanager
def _realtime(chain: DemoChain, address: str) -> Iterator[Path]:
    """The real-time process, ready; yields the folder that it watches."""
    incoming = chain.workdir / "incoming"
    incoming.mkdir(exist_ok=True)
    servers = json.dumps([f"{address}/{chain.model}"])
    options = ["--set", f"realtime.source={incoming}", "--set", f"realtime.servers={servers}"]
    with started("mim_tf.realtime", *chain.run, *options) as process:
        for line in process.stdout or ():
            print(line, end="")
            if line.startswith("Reading "):
                break
        else:
            raise ServingError("the real-time process ended before it read anything.")
        threading.Thread(target=_show_the_rest, args=[process], daemon=True).start()
        yield incoming
        process.terminate()
        process.wait()


def _show_the_rest(process: subprocess.Popen[str]) -> None:
    for line in process.stdout or ():
        print(line, end="", flush=True)


def _show(chain: DemoChain, address: str, incoming: Path, rates: tuple[float, float, float], *, quiet: bool) -> None:
    from mim_tf.demo.candidates import candidates_of_one_user
    from mim_tf.demo.freshness import Fresh, FreshnessProbe
    from mim_tf.demo.freshness_report import draw_report, report_lines
    from mim_tf.demo.new_items import new_items

    def tell(fresh: Fresh) -> None:
        if not quiet:
            scores = f"{fresh.miss:.3f} -> {fresh.score:.3f}"
            print(f"  {fresh.arrived:5.1f} s  {scores}  after {fresh.seconds:.2f} s  {fresh.item.title}", flush=True)

    start = int(time.time())  # other products than any run's before
    items = new_items(_IDS_A_SECOND * start, seed=start)
    probe = FreshnessProbe(address, chain.model, incoming, candidates_of_one_user(chain.workdir), items, tell)
    print("\n  arrived  probability for one user: as a miss -> with its embedding\n")
    measured = probe.run(*rates)
    picture = chain.workdir / "realtime" / "freshness.png"
    draw_report(measured, picture)
    print("", *report_lines(measured), f"Over time: {picture}", sep="\n", flush=True)
    if measured.lost:
        announced = measured.lost + len(measured.fresh)
        raise ServingError(
            f"all {announced:,} items must become rankable. {measured.lost:,} did not: see what the real-time process "
            f"says above, and {chain.workdir / 'realtime' / 'dead_letters.jsonl'}."
        )


if __name__ == "__main__":
    run_command(main)
