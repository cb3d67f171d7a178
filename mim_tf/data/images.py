"""Checking the shop's images one by one with the very graph that training decodes them with."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from fsspec.implementations.local import LocalFileSystem

from mim_tf.data.rejects import REASON, Reason
from mim_tf.data.sources import ROW
from mim_tf.image_decoding import decode_image

IMAGE = "image"
_SCHEMA = pa.schema([(ROW, pa.int64()), (IMAGE, pa.binary()), (REASON, pa.string())])
Checked = tuple[bytes | None, Reason | None]


def decodes(image: bytes) -> bool:
    """Whether training can decode these bytes."""
    try:
        decode_image(image)
    except tf.errors.OpError:  # damaged, of no format that it knows, or larger than it takes
        return False
    return True


@dataclass(frozen=True)
class ImageFolder:
    """Image files named by paths relative to one folder, which no path may leave.

    Attributes:
        filesystem: where the folder is.
        folder: its path there.
    """

    filesystem: fsspec.AbstractFileSystem
    folder: str

    def read(self, path: str, *, missing_alone: bool = False) -> Checked:
        """Read one image file; a path that leads out of the folder, also by a symbolic link, is never opened.

        Args:
            path: in the folder.
            missing_alone: of what can go wrong, only a file that is not there is a reason. The rest, which may pass,
                is raised.
        """
        try:
            inside = self._resolve(path)
            if inside is None:
                return None, Reason.IMAGE_PATH_OUTSIDE
            # Asking first keeps a pipe or a device from being opened and waited for.
            if not self.filesystem.isfile(inside):
                return None, Reason.UNREADABLE_IMAGE_FILE
            return bytes(self.filesystem.cat_file(inside)), None
        except (OSError, ValueError) as error:
            if missing_alone and not isinstance(error, FileNotFoundError):
                raise
            return None, Reason.UNREADABLE_IMAGE_FILE

    def _resolve(self, path: str) -> str | None:
        local = isinstance(self.filesystem, LocalFileSystem)
        real = os.path.realpath if local else posixpath.normpath
        folder = real(self.folder)
        target = real(posixpath.join(folder, path))
        outside = posixpath.isabs(path) or "://" in path or posixpath.commonpath([folder, target]) != folder
        return None if outside else target


def store_checked_images(
    batches: Iterator[pa.RecordBatch],
    path: Path,
    *,
    files: ImageFolder,
    undecodable: Reason,
    progress: Callable[[int], None],
) -> None:
    """Check images and keep them in a Parquet file with the columns `ROW`, `IMAGE` and `REASON`.

    Args:
        batches: `ROW` and one more column: the image as bytes, or as a path.
        path: the Parquet file to write.
        files: the folder that image paths lead into.
        undecodable: the reason for an image that does not decode.
        progress: called with the number of images of each batch once they are checked.
    """

    def check(value: bytes | str | None) -> Checked:
        image, reason = files.read(value) if isinstance(value, str) else (value, None)
        if reason is None and not (image and decodes(image)):
            return None, undecodable
        return image, reason

    with ThreadPoolExecutor(os.cpu_count()) as pool, pq.ParquetWriter(path, _SCHEMA, compression="none") as writer:
        for batch in batches:
            checked = list(pool.map(check, batch.column(1).to_pylist()))
            images = pa.array([image for image, _ in checked], pa.binary())
            reasons = pa.array([reason for _, reason in checked], pa.string())
            writer.write_batch(pa.record_batch([batch.column(0), images, reasons], schema=_SCHEMA))
            progress(batch.num_rows)
