"""The folders of served models: versions are integers, and appear whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mim_tf.workdir import fresh_folder_aside


def versions(model: Path) -> list[int]:
    """The versions of a model that are there, in ascending order."""
    return sorted(int(path.name) for path in model.glob("*") if path.name.isdecimal())


@contextmanager
def version_folder(model: Path, version: int) -> Iterator[Path]:
    """An empty folder to write a version into, which gets its name when all is done.

    A server that watches never sees a part: until then the name is no integer.
    """
    final = model / str(version)
    aside = fresh_folder_aside(final)
    yield aside
    os.rename(aside, final)
