"""Thumbnails: whole, in proportion, in the middle, from whatever holds an image."""

import io

import numpy as np
import pytest
from PIL import Image

from mim_tf.training.thumbnails import thumbnail

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, file_format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


@pytest.mark.parametrize("size", [(40, 20), (400, 200)])
def test_a_wide_image_is_whole_and_in_the_middle_of_a_white_square(size: tuple[int, int]) -> None:
    pixels = np.array(thumbnail(np.full((*size[::-1], 3), RED, np.uint8), 80))
    expected = np.full((80, 80, 3), WHITE, np.uint8)
    expected[20:60] = RED  # half as high as wide: 40 rows between 20 and 20
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1)])
def test_a_line_of_pixels_stays_to_be_seen(size: tuple[int, int]) -> None:
    pixels = np.array(thumbnail(np.full((*size, 3), RED, np.uint8), 16))
    assert (pixels == RED).all(axis=-1).sum() == 16


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [
        *(("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("PNG", "P"), ("PNG", "1"), ("BMP", "RGB")),
        *(("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGB")),
    ],
)
def test_encoded_images_of_any_kind(file_format: str, mode: str) -> None:
    # The left half black, the right half white.
    image = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 32, axis=1).repeat(64, axis=0))
    pixels = np.array(thumbnail(encoded(image.convert(mode), file_format), 32)).astype(int)
    assert pixels.shape == (32, 32, 3)
    assert pixels[:, :14].max() < 20
    assert pixels[:, 18:].min() > 235


def test_a_large_jpeg_gives_the_pixels_of_its_halves() -> None:
    image = Image.new("RGB", (2000, 2000), RED)
    image.paste((0, 0, 255), (0, 1000, 2000, 2000))
    pixels = np.array(thumbnail(encoded(image, "JPEG"), 20)).astype(int)
    assert np.abs(pixels[:9] - RED).max() < 10
    assert np.abs(pixels[11:] - (0, 0, 255)).max() < 10


@pytest.mark.parametrize("cut", [0, 1, 30, 100])
def test_broken_bytes_become_a_grey_square(cut: int) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for file_format in ("PNG", "JPEG"):
        pixels = np.array(thumbnail(encoded(noise, file_format)[:cut], 8))
        np.testing.assert_array_equal(pixels, np.full((8, 8, 3), 190))


@pytest.mark.parametrize(
    ("pixels", "received"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 of shape \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), r"uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 1), np.uint8), r"uint8 of shape \(4, 4, 1\)"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 of shape \(0, 4, 3\)"),
    ],
)
def test_other_arrays_are_refused(pixels: np.ndarray, received: str) -> None:
    with pytest.raises(
        ValueError, match=r"`photo` must be encoded or uint8 of shape \[height, width, 3\].*" + received
    ):
        thumbnail(pixels, 8)
