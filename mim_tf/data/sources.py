"""Opening the shop's tables: a file, a folder or a glob of Parquet, CSV or JSON lines, local or behind a URI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import fsspec
import ibis.expr.types as ir

from mim_tf.data.engine_errors import is_engine_error, lacks_room, said
from mim_tf.errors import DataError

if TYPE_CHECKING:
    from mim_tf.data.workspace import Workspace

FILE = "__file"
"""The column that says which file a row comes from."""
ROW = "__row"
"""The column that numbers the rows of a source from 0, in the order of its files."""
FORMATS: Mapping[str, str] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}


@dataclass(frozen=True)
class Source:
    """One opened table of the shop.

    Attributes:
        setting: the setting that names it, for messages, e.g. `data.items`.
        path: what the setting says.
        table: the columns of the files, plus `FILE` and `ROW`.
        typed: False for CSV, where every value is still text.
        filesystem: where the files are.
        folder: the folder of the files on that file system; image paths are relative to it.
    """

    setting: str
    path: str
    table: ir.Table
    typed: bool
    filesystem: fsspec.AbstractFileSystem
    folder: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns the files have."""
        return tuple(name for name in self.table.columns if name not in (FILE, ROW))

    @property
    def name(self) -> str:
        """The setting and the path, as messages give them."""
        return f"`{self.setting}` ({self.path})"


def open_source(workspace: Workspace, setting: str, path: str) -> Source:
    """Open a table lazily in a workspace.

    Args:
        workspace: the engine.
        setting: the setting that holds the path, for messages, e.g. `data.items`.
        path: a file, folder or glob; a local path or any URI that fsspec knows (`s3://`, `gs://`, `hdfs://`, ...).

    Returns:
        The source. Its rows are numbered in the order of the sorted file names.

    Raises:
        DataError: nothing is there, the format is unknown or mixed, or a file cannot be read.
    """
    filesystem, location = _filesystem(setting, path)
    files = _files(filesystem, location)
    if not files:
        raise DataError(f"`{setting}` must be a file, folder or glob of {_known()} files that exists. Received: {path}")
    formats = {FORMATS.get(PurePosixPath(file).suffix.lower()) for file in files}
    if len(formats) > 1 or None in formats:
        raise DataError(f"`{setting}` must be files of one format out of {_known()}. Received: {path}")
    (form,) = formats
    with reading(setting, path):
        table = workspace.read(str(form), filesystem, files)
    return Source(setting, path, table, form != "csv", filesystem, _folder(filesystem, location))


@contextmanager
def reading(setting: str, path: str) -> Iterator[None]:
    """Turn what the engine says about an unreadable file into an error that names the setting and the path."""
    try:
        yield
    except Exception as error:
        if lacks_room(error) or not is_engine_error(error):
            raise
        raise DataError(
            f"`{setting}` must be readable from first row to last. Received: {path}: {said(error)}"
        ) from error


def _filesystem(setting: str, path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        filesystem, location = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise DataError(f"`{setting}` must be a path or a URI that can be opened. Received: {path}: {error}") from error
    return filesystem, str(location)


def _files(filesystem: fsspec.AbstractFileSystem, location: str) -> list[str]:
    if filesystem.isfile(location):
        return [location]
    pattern = location.rstrip("/") + "/*" if filesystem.isdir(location) else location
    found = sorted(str(file) for file in filesystem.glob(pattern) if filesystem.isfile(file))
    # A folder may also hold the images and the markers that writers leave (`_SUCCESS`, `.crc`).
    known = (file for file in found if PurePosixPath(file).suffix.lower() in FORMATS)
    return [file for file in known if not PurePosixPath(file).name.startswith(("_", "."))]


def _folder(filesystem: fsspec.AbstractFileSystem, location: str) -> str:
    if filesystem.isdir(location):
        return location
    parent = PurePosixPath(location).parent
    while any(character in str(parent) for character in "*?["):
        parent = parent.parent
    return str(parent)


def _known() -> str:
    return ", ".join(sorted(FORMATS))
