"""Images of every kind against Pillow and hand-made files, and small files that would fill the memory."""

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mim_tf.data.images import decodes
from mim_tf.image_decoding import MAX_PIXELS, MAX_SIDE, decode_image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
BASE = (200, 30, 60, 20)  # cyan, magenta, yellow, black


def decoded(image: bytes) -> np.ndarray:
    return decode_image(tf.constant(image)).numpy()


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(*shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def by_pillow(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes = b"", *, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG by hand; `colour` 0 is grey, 2 RGB. Each row begins with a zero, its filter."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def palette_image() -> Image.Image:
    """One row of red, green and blue, by indices."""
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([*RED, *GREEN, *BLUE])
    return image


def gif_frames(*frames: Image.Image) -> bytes:
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, comment=b"c" * 700)


def tiled(number: int, side: int) -> Image.Image:
    image = Image.new("P", (side, side), number % 3)
    image.putpalette([*RED, *GREEN, *BLUE])
    return image


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP", "JPEG"])
@pytest.mark.parametrize("shape", [(9, 7, 3), (9, 7)])
def test_colour_and_grey_become_pillows_rgb(form: str, shape: tuple[int, ...]) -> None:
    image = encoded(noise(*shape), form, **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_allclose(decoded(image), by_pillow(image), atol=1 if form == "JPEG" else 0)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF"])
def test_palette_images_become_the_colours_of_their_palette(form: str) -> None:
    assert decoded(encoded(palette_image(), form)).tolist() == [[[*RED], [*GREEN], [*BLUE]]]


def test_sixteen_bits_become_the_upper_eight() -> None:
    grey = png(4, 1, b"\0" + struct.pack(">4H", 0x0000, 0x00FF, 0x80FF, 0xFFFF), bits=16, colour=0)
    assert decoded(grey).tolist() == [[[0, 0, 0], [0, 0, 0], [128, 128, 128], [255, 255, 255]]]
    colours = png(1, 1, b"\0" + struct.pack(">3H", 0x01FF, 0x7F80, 0xFE00), bits=16)
    assert decoded(colours).tolist() == [[[1, 127, 254]]]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP"])
def test_transparent_pixels_keep_the_colour_they_are_stored_with(form: str) -> None:
    pixels = np.array([[[*RED, 0], [*GREEN, 128], [*BLUE, 255]]], np.uint8)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    assert decoded(encoded(Image.fromarray(pixels), form, **options)).tolist() == [[[*RED], [*GREEN], [*BLUE]]]


def test_a_transparent_palette_keeps_its_colours_in_png_and_is_black_in_gif() -> None:
    assert decoded(encoded(palette_image(), "PNG", transparency=0)).tolist() == [[[*RED], [*GREEN], [*BLUE]]]
    assert decoded(encoded(palette_image(), "GIF", transparency=0)).tolist() == [[[0, 0, 0], [*GREEN], [*BLUE]]]


@pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
def test_adobes_inverted_cmyk_becomes_rgb(transform: int) -> None:
    image = bytearray(encoded(Image.new("CMYK", (16, 16), BASE), "JPEG", quality=95))
    image[image.find(b"Adobe") + 11] = transform  # the last byte of that segment
    np.testing.assert_allclose(decoded(bytes(image)), by_pillow(bytes(image)), atol=1)
    if transform == 0:  # by hand: (1 - ink) (1 - black) of 255, within what the compression costs
        by_hand = [(255 - ink) * (255 - BASE[3]) / 255 for ink in BASE[:3]]
        np.testing.assert_allclose(decoded(bytes(image))[8, 8], by_hand, atol=2)


def test_the_first_frame_of_an_animation_is_seen_and_the_others_are_not_unpacked() -> None:
    animation = gif_frames(*(tiled(number, 40) for number in range(3)))
    np.testing.assert_array_equal(decoded(animation), np.full([40, 40, 3], RED))
    # The second frame is damaged: whoever unpacked it would notice.
    first = gif_frames(tiled(0, 40))
    huge = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x01\x00\x00"
    np.testing.assert_array_equal(decoded(first[:-1] + huge + b";"), np.full([40, 40, 3], RED))


def gif(width: int, height: int) -> bytes:
    """A small screen, whose first frame is not small."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    extension = b"\x21\xfe\x03abc\x02de\x00"
    return screen + extension + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHH", 66, 0, 54, 40, width, height, 1, 24) + bytes(36)


def jpeg(width: int, height: int) -> bytes:
    image = encoded(noise(8, 8, 3), "JPEG")
    at = image.find(b"\xff\xc0") + 5  # behind the marker, the segment's length and the bits
    return image[:at] + struct.pack(">HH", height, width) + image[at + 4 :]


def webp(width: int, height: int, kind: bytes) -> bytes:
    body = {
        b"VP8 ": b"\x30\x03\x00\x9d\x01\x2a" + struct.pack("<HH", width, height),
        b"VP8L": b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14),
        b"VP8X": bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3],
    }[kind] + bytes(40)
    chunks = b"WEBP" + kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


BOMBS = {
    "png": png(9000, 8000),
    "png of 31 bits": png(2**31 - 1, 2**31 - 1),
    "long png": png(MAX_SIDE + 1, 1),
    "gif": gif(9000, 8000),
    "bmp": bmp(9000, 8000),
    "bmp, rows downwards": bmp(9000, -8000),
    "jpeg": jpeg(9000, 8000),
    "webp": webp(9000, 8000, b"VP8 "),
    "lossless webp": webp(9000, 8000, b"VP8L"),
    "extended webp": webp(9000, 8000, b"VP8X"),
}


@pytest.mark.parametrize("kind", sorted(BOMBS))
def test_what_declares_too_many_pixels_is_refused_by_its_header(kind: str) -> None:
    sides = {"png of 31 bits": r"2147483647 2147483647", "long png": r"32769 1"}.get(kind, r"9000 8000")
    rule = (
        rf"`image` must have at most {MAX_PIXELS} pixels, and {MAX_SIDE} on a side\. Received width, height:.*{sides}"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
        decoded(BOMBS[kind])
    assert not decodes(BOMBS[kind])  # so `prepare` counts it as a reject, and a new item as a dead letter


@pytest.mark.parametrize("make", [png, gif, bmp])
def test_as_many_pixels_as_are_allowed_are_the_decoders_business(make: Any) -> None:
    # There are no such pixels in the file.
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Invalid PNG data|failed to slurp gif|Input size should"):
        decoded(make(MAX_SIDE, MAX_PIXELS // MAX_SIDE))


def test_an_animated_webp_is_refused() -> None:
    animation = encoded(noise(9, 7, 4), "WEBP", save_all=True, append_images=[Image.new("RGBA", (7, 9))])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`image` must not be an animated WebP\. Received one\."):
        decoded(animation)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_no_cut_makes_anything_but_an_invalid_argument(form: str) -> None:
    image = encoded(noise(24, 24, 3), form)
    for length in [*range(70), len(image) // 2, len(image) - 40]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?i)image|jpeg|png|gif|bmp|webp|input|pos "):
            decoded(image[:length])


@pytest.mark.parametrize(
    ("image", "message"), [(b"", "Input is empty"), (b"<html>404</html>", "One of JPEG, PNG, GIF, BMP, WebP required")]
)
def test_what_is_no_image_is_said_to_be_none(image: bytes, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decoded(image)


MEMORY = """
import resource, sys
import tensorflow as tf
from mim_tf.image_decoding import decode_image
decode_image(tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shape = decode_image(tf.constant(sys.stdin.buffer.read())).shape
print(shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_an_animation_takes_the_memory_of_one_frame() -> None:
    one = encoded(tiled(0, 2000), "GIF")
    head = 13 + 3 * 2 ** ((one[10] & 7) + 1)
    animation = one[:head] + 200 * one[one.find(b"\x2c", head) : -1] + b";"  # 800 megapixels, each a byte to unpack
    command = [sys.executable, "-W", "ignore", "-c", MEMORY]
    run = subprocess.run(command, input=animation, capture_output=True, check=True, timeout=300)
    shape, kilobytes = run.stdout.decode().rsplit(" ", 1)
    assert shape == "(2000, 2000, 3)"
    assert int(kilobytes) < 200_000  # indices, pixels and what the allocator keeps; 800,000 would be all frames
