"""Kill drills: the real-time process and a server die at random moments under load; nothing may be lost or wrong.

    .venv/bin/python -m benchmarks.kill_drill                 # 12 deaths of each
    .venv/bin/python -m benchmarks.kill_drill 40 7            # 40 of each, of the seed 7

New and changed items come as files, some events twice, some late. Both processes are ended by SIGKILL again and again
and started anew at once, every other time at a moment of their start, else at one of their work; look-ups go on beside.
In the end store and server must hold exactly the last event of every item.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from tests.realtime.pictures import event
from tests.realtime.toy_center import ENV, ToyCenter, expected

ITEMS = 400
EVENTS_A_SECOND = 50
LONGEST_LIFE = 8.0  # seconds, from a start, or from when a process is ready


class Drill:
    """One drill.

    Args:
        folder: an empty one.
        deaths: of each of the two processes.
        seed: of moments and events.
    """

    def __init__(self, folder: Path, deaths: int, seed: int):
        self._draws, self._deaths = random.Random(seed), deaths
        self._port = _free_port()
        self.center = ToyCenter(
            folder, window_seconds=0.3, servers=[f"127.0.0.1:{self._port}/table"], compact_every=7, keep_hours=0.001
        )
        self.center.export()
        self.truth: dict[int, int] = {}  # the number that each item's last event shows
        self.lookups, self.refused, self.wrong = 0, 0, 0
        self.events = 0
        self._said: dict[int, set[int]] = {}  # all numbers that an item's events ever showed
        self._over = threading.Event()

    def run(self) -> None:
        """Kill and start anew until all have died often enough, then wait until all is taken in.

        Raises:
            RuntimeError: store or server differ from the truth.
        """
        threads = [
            threading.Thread(target=self._write_events),
            threading.Thread(target=self._look_up),
            threading.Thread(target=self._kill, args=[self._serving(), "Listening", self._draws.random()]),
            threading.Thread(target=self._kill, args=[self.center.realtime(), "Reading", self._draws.random()]),
        ]
        for thread in threads:
            thread.start()
        for thread in threads[2:]:
            thread.join()
        self._over.set()
        for thread in threads[:2]:
            thread.join()
        self._settle()

    def _serving(self) -> list[str]:
        return [sys.executable, "-m", "mim_tf.serving", "--models", str(self.center.models), "--port", str(self._port)]

    def _kill(self, command: list[str], ready: str, seed: float) -> None:
        draws = random.Random(seed)
        for death in range(self._deaths):
            with _started(command) as process:
                if death % 2:
                    _wait_for(process, ready)
                time.sleep(draws.uniform(0, LONGEST_LIFE))
                process.send_signal(signal.SIGKILL)
            if process.returncode != -signal.SIGKILL:
                raise RuntimeError(f"{command[2]} ended by itself.")

    def _write_events(self) -> None:
        """Files of ten events, until it is over."""
        number = files = 0
        while not self._over.wait(10 / EVENTS_A_SECOND):
            lines = []
            for _ in range(10):
                number += 1
                item = self._draws.randrange(2, ITEMS)
                lines.append(self._line(item, number, number))
            if files % 3 == 0:  # some come twice, and one that is older than what its item had
                lines.append(lines[2])
                late = self._draws.choice(sorted(self.truth))
                lines.append(self._line(late, number + 30_000, self.truth[late] - 0.5))
            files += 1
            path = self.center.incoming / f"{files:06}.jsonl"
            path.with_suffix(".tmp").write_bytes(b"".join(lines))
            path.with_suffix(".tmp").rename(path)

    def _line(self, item: int, number: int, time_of_it: float) -> bytes:
        self.events += 1
        self._said.setdefault(item, set()).add(number)
        if time_of_it >= self.truth.get(item, 0):
            self.truth[item] = number
        return event(item, number, timestamp=1_700_000_000 + time_of_it)

    def _look_up(self) -> None:
        """What a server answers at any moment must once have been said of the item, or it is a miss."""
        draws = np.random.default_rng(0)
        with Client(f"127.0.0.1:{self._port}", timeout=2.0) as client:
            while not self._over.wait(0.02):
                asked = draws.integers(2, ITEMS, 50)
                try:
                    answer = client.predict("table", {"item_id": asked}, signature="lookup")
                except ServingError:
                    self.refused += 1
                    continue
                self.lookups += 1
                for item, row, hit in zip(asked.tolist(), answer["embedding"], answer["hit"], strict=True):
                    right = int(row[0]) + 256 * int(row[1]) in self._said.get(item, set()) if hit else not row.any()
                    self.wrong += not right

    def _ended(self) -> tuple[subprocess.CompletedProcess[str], dict[str, np.ndarray]]:
        """What a last run of the real-time process said, and what the server has then."""
        with Client(f"127.0.0.1:{self._port}", timeout=10.0) as client:
            client.wait_until_ready("table")
            ended = self.center.run("--once")
            return ended, client.predict("table", {"item_id": np.arange(2, ITEMS)}, signature="lookup")

    def _settle(self) -> None:
        """Let both processes run, and compare when they are done."""
        with _started(self._serving()) as server:
            try:
                ended, answer = self._ended()
            finally:
                server.kill()
        if ended.returncode:
            raise RuntimeError(ended.stderr)
        truth = {item: expected(number) for item, number in self.truth.items()}
        found = zip(range(2, ITEMS), answer["embedding"].astype(int).tolist(), answer["hit"], strict=True)
        served = {item: tuple(row) for item, row, hit in found if hit}
        stored = {item: row for item, row in self.center.held().items() if item > 1}
        if not stored == served == truth:
            wrong = [item for item in truth if not stored.get(item) == served.get(item) == truth[item]]
            raise RuntimeError(f"{len(wrong)} of {len(truth)} items are lost or wrong, such as {wrong[:5]}.")
        if self.wrong:
            raise RuntimeError(f"{self.wrong} look-ups gave what was never said of the item.")


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Until a process says that it is ready."""
    for line in process.stdout or ():
        if line.startswith(word):
            return


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main(deaths: int = 12, seed: int = 0) -> None:
    """Run a drill and print what happened."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        drill = Drill(Path(folder), deaths, seed)
        drill.run()
        letters = drill.center.workdir / "realtime" / "dead_letters.jsonl"
        dead = len(letters.read_text(encoding="utf-8").splitlines())
        versions = drill.center.store.version
    print(f"{deaths} deaths of each process in {time.monotonic() - begun:.0f} s")
    print(f"{drill.events:,} events of {len(drill.truth)} items")
    print(f"{drill.lookups:,} look-ups answered, all right; {drill.refused:,} met no server")
    print(f"store and server hold the last event of every item; {versions:,} versions, {dead} dead letters")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
