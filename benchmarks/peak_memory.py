"""The memory that a command takes, with all the processes that it starts."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

_EVERY = 0.5  # seconds


def run_module(module: str, *arguments: str, before: Sequence[str] = ()) -> int:
    """Run a module to its end.

    Args:
        module: that `python -m` runs.
        *arguments: of it.
        before: what stands before the interpreter, as `taskset -c 0`.

    Returns:
        The most memory, in bytes, that it and what it started had for themselves (proportional set size), looked at
        twice a second.

    Raises:
        SystemExit: it has failed.
    """
    command = [*before, sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ended, peak = threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(_EVERY):
            peak[0] = max(peak[0], sum(_own_memory(each) for each in _family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        code = process.wait()
    finally:
        ended.set()
        watcher.join()
    if code:
        raise SystemExit(f"{module} ended with {code}.")
    return peak[0]


def _family(root: int) -> list[int]:
    """A process and all that it started, and they."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has just ended
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    family = [root]
    for process in family:  # grows on the way
        family += children.get(process, [])
    return family


def _own_memory(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
