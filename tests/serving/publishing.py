"""How tests publish a version, and wait for what a server makes of it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path


def publish(saved: Path, version: Path) -> Path:
    """Puts a copy of a SavedModel in place as a version, as the README tells to."""
    aside = version.with_name(f"{version.name}.tmp")
    shutil.copytree(saved, aside)
    return aside.rename(version)


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns when something holds; fails if it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)
