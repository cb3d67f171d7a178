"""Images: what counts as decodable, and that no path leads out of the items' folder."""

import io
import os
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from mim_tf.data.images import ImageCheck, ImageFolder, decodes
from mim_tf.data.rejects import Reason


def encoded(form: str, size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(noise).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP"])
def test_whole_images_decode_and_broken_ones_do_not(form: str) -> None:
    image = encoded(form)
    assert decodes(image)
    assert not decodes(image[: len(image) // 2])


def test_what_is_no_image_does_not_decode() -> None:
    assert not decodes(b"")
    assert not decodes(b"<html>404</html>")


@pytest.fixture
def files(tmp_path: Path) -> ImageFolder:
    (tmp_path / "shop" / "sub").mkdir(parents=True)
    (tmp_path / "shop" / "a.png").write_bytes(b"a")
    (tmp_path / "shop" / "sub" / "b.png").write_bytes(b"b")
    (tmp_path / "shop2").mkdir()
    (tmp_path / "shop2" / "secret.png").write_bytes(b"secret")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return ImageFolder(LocalFileSystem(), str(tmp_path / "shop"))


@pytest.mark.parametrize(("path", "image"), [("a.png", b"a"), ("sub/b.png", b"b"), ("sub/../a.png", b"a")])
def test_paths_inside_the_folder_are_read(files: ImageFolder, path: str, image: bytes) -> None:
    assert files.read(path) == (image, None)


@pytest.mark.parametrize("path", ["../secret.png", "sub/../../secret.png", "../shop2/secret.png", "file:///etc/passwd"])
def test_paths_out_of_the_folder_are_refused(files: ImageFolder, path: str) -> None:
    assert files.read(path) == (None, Reason.IMAGE_PATH_OUTSIDE)


def test_absolute_paths_are_refused_wherever_they_lead(files: ImageFolder) -> None:
    assert files.read(f"{files.folder}/a.png") == (None, Reason.IMAGE_PATH_OUTSIDE)
    assert files.read("/etc/passwd") == (None, Reason.IMAGE_PATH_OUTSIDE)


def test_symbolic_links_out_of_the_folder_are_refused(files: ImageFolder) -> None:
    folder = Path(files.folder)
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "outside").symlink_to(folder.parent / "shop2")
    (folder / "inside.png").symlink_to("sub/b.png")
    assert files.read("link.png") == (None, Reason.IMAGE_PATH_OUTSIDE)
    assert files.read("outside/secret.png") == (None, Reason.IMAGE_PATH_OUTSIDE)
    assert files.read("inside.png") == (b"b", None)


def test_what_is_no_readable_file_is_a_reason_and_no_crash(files: ImageFolder) -> None:
    os.mkfifo(Path(files.folder) / "pipe.png")  # opening it would wait for ever
    (Path(files.folder) / "loop.png").symlink_to("loop.png")
    for path in ("nowhere.png", "sub", "pipe.png", "loop.png", "a\0.png", "x" * 5000, ""):
        assert files.read(path) == (None, Reason.UNREADABLE_IMAGE_FILE), path


def test_a_remote_folder_is_not_left_either() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/images/shop/a.png": b"a", "/images/secret.png": b"secret"})
    files = ImageFolder(memory, "/images/shop")
    assert files.read("a.png") == (b"a", None)
    assert files.read("../secret.png") == (None, Reason.IMAGE_PATH_OUTSIDE)
    assert files.read("memory://images/secret.png") == (None, Reason.IMAGE_PATH_OUTSIDE)


def test_checked_images_come_back_with_their_reasons(files: ImageFolder) -> None:
    image = encoded("PNG")
    (Path(files.folder) / "good.png").write_bytes(image)
    paths = pa.record_batch({"__row": [4, 2, 9], "path": ["good.png", "a.png", "../secret.png"]})
    blobs = pa.record_batch({"__row": [0, 1], "image": pa.array([image, None], pa.binary())})
    check = ImageCheck(files, Reason.UNDECODABLE_QUERY_IMAGE)
    checked = [[tuple(row.values()) for row in batch.to_pylist()] for batch in check(iter([paths, blobs]))]
    assert checked == [
        [
            (4, image, None),
            (2, None, "undecodable query image"),
            (9, None, "image path outside the folder"),
        ],
        [(0, image, None), (1, None, "undecodable query image")],
    ]
