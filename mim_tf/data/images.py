"""Checking the shop's images one by one with the very graph that training decodes them with."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fsspec
import pyarrow as pa
import tensorflow as tf
from fsspec.implementations.local import LocalFileSystem

from mim_tf.data.rejects import REASON, Reason
from mim_tf.data.sources import ROW
from mim_tf.errors import DataError
from mim_tf.image_decoding import decode_image
from mim_tf.spark import task_cores

IMAGE = "image"
_TRIES = 4
CHECKED_IMAGES = pa.schema([(ROW, pa.int64()), (IMAGE, pa.binary()), (REASON, pa.string())])
"""Of each image its row, its bytes, and why it is left out: null where it is not."""
Checked = tuple[bytes | None, Reason | None]


def decodes(image: bytes) -> bool:
    """Whether training can decode these bytes."""
    try:
        _decoded_size(image)
    except tf.errors.OpError:  # damaged, of no format that it knows, or larger than it takes
        return False
    return True


# Op by op, the many of the decoder cost more than small images do.
@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decoded_size(image: tf.Tensor) -> tf.Tensor:
    return tf.size(decode_image(image))


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
            if missing_alone and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise
            return None, Reason.UNREADABLE_IMAGE_FILE

    def _resolve(self, path: str) -> str | None:
        local = isinstance(self.filesystem, LocalFileSystem)
        real = os.path.realpath if local else posixpath.normpath
        folder = real(self.folder)
        target = real(posixpath.join(folder, path))
        outside = posixpath.isabs(path) or "://" in path or posixpath.commonpath([folder, target]) != folder
        return None if outside else target


@dataclass(frozen=True)
class ImageCheck:
    """Checks images a batch at a time, on as many threads as there are cores.

    Attributes:
        files: the folder that image paths lead into.
        undecodable: the reason for an image that does not decode.
    """

    files: ImageFolder
    undecodable: Reason

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Check batches of `ROW` and one more column, the image as bytes or as a path; gives `CHECKED_IMAGES`."""
        with ThreadPoolExecutor(task_cores() or os.cpu_count()) as pool:
            for batch in batches:
                checked = list(pool.map(self._check, batch.column(1).to_pylist()))
                images = pa.array([image for image, _ in checked], pa.binary())
                reasons = pa.array([reason for _, reason in checked], pa.string())
                yield pa.record_batch([batch.column(0), images, reasons], schema=CHECKED_IMAGES)

    def _check(self, value: bytes | str | None) -> Checked:
        image, reason = self._read(value) if isinstance(value, str) else (value, None)
        if reason is None and not (image and decodes(image)):
            return None, self.undecodable
        return image, reason

    def _read(self, path: str) -> Checked:
        """Read a file; what is far away is asked again where it has failed, since the item would be lost for it."""
        if isinstance(self.files.filesystem, LocalFileSystem):
            return self.files.read(path)
        for attempt in range(1, _TRIES):
            try:
                return self.files.read(path, missing_alone=True)
            except OSError:
                time.sleep(attempt)
        try:
            return self.files.read(path, missing_alone=True)
        except OSError as error:
            raise DataError(
                f"`image_path` must name files that can be read, or that are not there. Received: {path}: {error}. "
                "The same command begins anew."
            ) from error
