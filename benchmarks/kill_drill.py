"""Kill drills: the real-time process and a server die at random moments under load; nothing may be lost or wrong.

    .venv/bin/python -m benchmarks.kill_drill                 # 12 deaths of each
    .venv/bin/python -m benchmarks.kill_drill 40 7            # 40 of each, of the seed 7

New and changed items come as files, some events twice, some late, now and then thousands at once. Both processes are
ended by SIGKILL again and again and started anew at once, every other time at a moment of their start, else at one of
their work; look-ups go on beside. In the middle a newer version of the model is put into the running server's folder.
In the end store and server must hold exactly the last event of every item.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from mim_tf.errors import ServingError
from mim_tf.serving.client import Client
from tests.realtime.pictures import event
from tests.realtime.toy_center import ENV, ToyCenter, expected

ITEMS = range(2, 400)  # whose events come a few at a time
EVENTS_A_SECOND = 50
BURST_ITEMS = range(1_000_000, 1_010_000)  # whose events come in bursts
BURST = 3_000  # of them: a catch-up of several pieces
FILES_A_BURST = 75  # small files from one burst to the next: about 15 seconds
SPARE_A_DEATH = 15_000  # rows; table-1 keeps its tag, and so hardly one that was let go is given again
LONGEST_LIFE = 8.0  # seconds, from a start, or from when a process is ready
_NUMBERS = 65_536  # that pictures can show
_PATIENCE = 60.0  # seconds for a running server to load a newer version


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
            folder,
            window_seconds=0.3,
            servers=[f"127.0.0.1:{self._port}/table"],
            compact_every=7,
            keep_hours=0.001,
        )
        self._spare = SPARE_A_DEATH * (deaths + 1)
        self.center.export(self._spare)
        self.truth: dict[int, int] = {}  # the number that each item's last event shows
        self.lookups, self.refused, self.wrong = 0, 0, 0
        self.events, self.bursts = 0, 0
        self.caught_up = 0  # changes that the last server lacked when it started
        self._times: dict[int, float] = {}  # of each item's last event
        self._said: dict[int, set[int]] = {}  # all numbers that an item's events ever showed
        self._reloaded: int | None = None  # the store's version that the second export holds
        self._over = threading.Event()

    def run(self) -> None:
        """Kill and start anew until all have died often enough, then wait until all is taken in.

        Raises:
            RuntimeError: store or server differ from the truth, or a process ended by itself.
        """
        moments = [random.Random(self._draws.random()) for _ in range(2)]
        with ThreadPoolExecutor(4) as threads:
            beside = [threads.submit(self._write_events), threads.submit(self._look_up)]
            deaths = [
                threads.submit(self._kill, self._serving(), "Listening", moments[0], self._reload),
                threads.submit(self._kill, self.center.realtime(), "Reading", moments[1], lambda: None),
            ]
            try:
                self._await(deaths, beside)
            finally:
                self._over.set()
            for one in beside:
                one.result()
        self._settle()

    @staticmethod
    def _await(deaths: list[Future[None]], beside: list[Future[None]]) -> None:
        """Until both have died often enough; what fails anywhere fails the drill, at once."""
        left = {*deaths, *beside}
        while not all(one.done() for one in deaths):
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for one in done:
                one.result()

    def _serving(self) -> list[str]:
        return [sys.executable, "-m", "mim_tf.serving", "--models", str(self.center.models), "--port", str(self._port)]

    def _kill(self, command: list[str], ready: str, draws: random.Random, halfway: Callable[[], None]) -> None:
        """Let a process die again and again; in one life in the middle something is done once it is ready."""
        middle = self._deaths // 2
        for death in range(self._deaths):
            with self._started(command) as process:
                if death % 2 or death == middle:
                    self._wait_for(process, command, ready)
                if death == middle:
                    halfway()
                if self._over.wait(draws.uniform(0, LONGEST_LIFE)):  # something else has failed
                    return
                process.kill()
                process.wait()
                self._check_killed(process, command)

    def _wait_for(self, process: subprocess.Popen[str], command: list[str], word: str) -> None:
        """Until a process says that it is ready."""
        if not any(line.startswith(word) for line in process.stdout or ()):
            process.wait()
            self._check_killed(process, command)

    def _check_killed(self, process: subprocess.Popen[str], command: list[str]) -> None:
        if process.returncode != -signal.SIGKILL:
            said = self._log(command).read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"{command[2]} ended by itself, with code {process.returncode}: {said}")

    def _reload(self) -> None:
        """Export the store as it is, and wait until the running server has found that by itself."""
        self._reloaded = self.center.export(self._spare, version=2)
        end = time.monotonic() + _PATIENCE
        with Client(f"127.0.0.1:{self._port}", timeout=10.0) as client:
            client.wait_until_ready("table")
            while client.model_status("table").get(2) != "AVAILABLE":
                if time.monotonic() > end:
                    raise RuntimeError(f"The server must load version 2 within {_PATIENCE:g} s. It did not.")
                time.sleep(0.1)

    def _write_events(self) -> None:
        """Small files until it is over, bursts between them, and one burst at the end."""
        files = 0
        while not self._over.wait(10 / EVENTS_A_SECOND):
            if files % FILES_A_BURST == FILES_A_BURST // 4:
                self._write_burst()
            items = self._draws.choices(ITEMS, k=10)
            lines = [self._next_line(item) for item in items]
            if files % 3 == 0:  # one comes twice, and one that is older than what its item had
                lines.append(lines[2])
                late = self._draws.choice(items)
                lines.append(self._line(late, self.events + 30_000, self._times[late] - 0.5))
            files += 1
            self._put(f"{files:06}", lines)
        self._write_burst()

    def _write_burst(self) -> None:
        self.bursts += 1
        items = self._draws.sample(BURST_ITEMS, BURST)
        self._put(f"burst-{self.bursts:03}", [self._next_line(item) for item in items])

    def _put(self, name: str, lines: list[bytes]) -> None:
        aside = self.center.incoming / f"{name}.tmp"
        aside.write_bytes(b"".join(lines))
        aside.rename(aside.with_suffix(".jsonl"))

    def _next_line(self, item: int) -> bytes:
        return self._line(item, self.events + 1, self.events + 1)

    def _line(self, item: int, number: int, time_of_it: float) -> bytes:
        self.events += 1
        number %= _NUMBERS
        self._said.setdefault(item, set()).add(number)
        if time_of_it >= self._times.get(item, 0):
            self._times[item], self.truth[item] = time_of_it, number
        return event(item, number, timestamp=1_700_000_000 + time_of_it)

    def _look_up(self) -> None:
        """What a server answers at any moment must once have been said of the item, or it is a miss."""
        draws = np.random.default_rng(0)
        with Client(f"127.0.0.1:{self._port}", timeout=2.0) as client:
            while not self._over.wait(0.02):
                asked = np.concatenate([draws.choice(ITEMS, 25), draws.choice(BURST_ITEMS, 25)])
                try:
                    answer = client.predict("table", {"item_id": asked}, signature="lookup")
                except ServingError:
                    self.refused += 1
                    continue
                self.lookups += 1
                for item, row, hit in zip(asked.tolist(), answer["embedding"], answer["hit"], strict=True):
                    right = int(row[0]) + 256 * int(row[1]) in self._said.get(item, set()) if hit else not row.any()
                    self.wrong += not right

    def _ended(self) -> tuple[subprocess.CompletedProcess[str], dict[int, tuple[int, ...]]]:
        """What a last run of the real-time process said, and what the server has then."""
        asked = [*ITEMS, *BURST_ITEMS]
        with Client(f"127.0.0.1:{self._port}", timeout=10.0) as client:
            client.wait_until_ready("table")
            held = int(client.predict("table", {"request": np.zeros(1, np.int64)}, signature="version")["version"][0])
            ended = self.center.run("--once")
            self.caught_up = len(self.center.store.changes(held).rows)
            answer = client.predict("table", {"item_id": np.array(asked)}, signature="lookup")
        if held != self._reloaded:
            raise RuntimeError(f"The server must start as version {self._reloaded} of the store. Received: {held}.")
        found = zip(asked, answer["embedding"].astype(int).tolist(), answer["hit"], strict=True)
        return ended, {item: tuple(row) for item, row, hit in found if hit}

    def _settle(self) -> None:
        """Let both processes run, and compare when they are done."""
        with self._started(self._serving()):
            ended, served = self._ended()
        if ended.returncode:
            raise RuntimeError(ended.stderr)
        truth = {item: expected(number) for item, number in self.truth.items()}
        stored = {item: row for item, row in self.center.held().items() if item > 1}
        if not stored == served == truth:
            items = sorted({*stored, *served, *truth})
            wrong = [item for item in items if not stored.get(item) == served.get(item) == truth.get(item)]
            said = ended.stdout + ended.stderr
            raise RuntimeError(f"{len(wrong)} of {len(truth)} items are lost or wrong, such as {wrong[:5]}. {said}")
        if self.wrong:
            raise RuntimeError(f"{self.wrong} look-ups gave what was never said of the item.")

    @contextmanager
    def _started(self, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        """A process that is killed in the end, whatever comes; what it says of errors is kept."""
        with (
            self._log(command).open("wb") as log,
            subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    def _log(self, command: list[str]) -> Path:
        return self.center.folder / f"{command[2]}.log"


def _free_port() -> int:
    """A port that the system gives no client: one could take it from a server that is down."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("There must be a free port between 20,000 and 30,000.")


def main(deaths: int = 12, seed: int = 0) -> None:
    """Run a drill and print what happened."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        drill = Drill(Path(folder), deaths, seed)
        drill.run()
        letters = drill.center.workdir / "realtime" / "dead_letters.jsonl"
        dead = len(letters.read_text(encoding="utf-8").splitlines()) if letters.exists() else 0
        versions = drill.center.store.version
    print(f"{deaths} deaths of each process in {time.monotonic() - begun:.0f} s, one reload")
    print(f"{drill.events:,} events of {len(drill.truth):,} items, {drill.bursts} bursts of {BURST:,}")
    print(f"{drill.lookups:,} look-ups answered, all right; {drill.refused:,} met no server")
    print(f"{drill.caught_up:,} changes in the last catch-up")
    print(f"store and server hold the last event of every item; {versions:,} versions, {dead} dead letters")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
