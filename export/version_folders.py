"""The folders of served models: versions are integers, and appear whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
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
    with version_folders([model], version) as (folder,):
        yield folder


@contextmanager
def version_folders(models: Sequence[Path], version: int) -> Iterator[list[Path]]:
    """Empty folders to write a version of several models into, which get their names when all are done.

    They get them in the order given: what others need goes first. Where one cannot get its name, those before it lose
    theirs again.

    Raises:
        OSError: there is such a version already, or a folder cannot be made.
    """
    finals = [model / str(version) for model in models]
    asides = [fresh_folder_aside(final) for final in finals]
    try:
        yield asides
    except BaseException:
        _take_away(asides)
        raise
    with ExitStack() as taking_back:
        for aside, final in zip(asides, finals, strict=True):
            os.rename(aside, final)
            taking_back.callback(os.rename, final, aside)
        taking_back.pop_all()  # all have their names


def _take_away(asides: Sequence[Path]) -> None:
    """What is no version, and what holds none then: a server would warn of it."""
    for aside in asides:
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):
            aside.parent.rmdir()
