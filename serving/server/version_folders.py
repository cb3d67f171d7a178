"""Which versions of which models lie in a folder, as TF Serving would find them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import NamedTuple

from mim_tf.errors import ServingError

_MAX_VERSION = 2**63 - 1  # a version travels as int64
_LOG = logging.getLogger(__name__)


class VersionFolder(NamedTuple):
    """A version of a model and its folder, whose name may be written `7` or `0007`."""

    version: int
    path: Path

    def fingerprint(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size in bytes and time of change (ns) of every file in it: equal as long as nothing was changed."""
        files = []
        for folder, _, names in os.walk(self.path):
            for path in (os.path.join(folder, name) for name in names):
                try:
                    stat = os.stat(path)
                except FileNotFoundError:  # it went meanwhile, which the next fingerprint shows
                    continue
                files.append((path, stat.st_size, stat.st_mtime_ns))
        return tuple(sorted(files))


def find_model_folders(folder: Path) -> list[Path]:
    """Finds the folders of models that have a version, sorted.

    Raises:
        ServingError: If the folder does not exist or holds no model.
    """
    if not folder.is_dir():
        raise ServingError(f"`models` must be an existing folder. Received: {folder}.")
    found = []
    for model in sorted(child for child in folder.iterdir() if child.is_dir()):
        if find_versions(model):
            found.append(model)
        else:
            _LOG.warning("%s is ignored: it has no integer version folder.", model)
    if not found:
        raise ServingError(_nothing_found(folder))
    return found


def find_versions(model: Path) -> dict[int, VersionFolder]:
    """Finds the versions in a model's folder, lowest first.

    Raises:
        OSError: If the folder cannot be read.
    """
    versions = (VersionFolder(int(child.name), child) for child in model.iterdir() if _is_version(child))
    return {found.version: found for found in sorted(versions)}


def _is_version(folder: Path) -> bool:
    name = folder.name
    return name.isascii() and name.isdecimal() and int(name) <= _MAX_VERSION and folder.is_dir()


def _nothing_found(folder: Path) -> str:
    """Says what was there instead of models, and what to do about it."""
    there = ", ".join(sorted(child.name for child in folder.iterdir())) or "nothing"
    if any(_is_version(child) for child in folder.iterdir()):
        remedy = f"These are versions of one model: give the folder above, {folder.resolve().parent}."
    else:
        remedy = "Export a model there first."
    rule = "`models` must be a folder that holds <model>/<integer version>/saved_model.pb."
    return f"{rule} Found in {folder}: {there}. {remedy}"
