"""Encoded images to RGB pixels, inside the graph: the same for checks, training and serving."""

from __future__ import annotations

import tensorflow as tf

MAX_PIXELS = 2**26
"""Of an image; a small file can declare many more, and they would be taken from memory."""
MAX_SIDE = 2**15
"""Of an image, pixels: one of extreme proportions grows where its shorter side is enlarged."""
MAX_BYTES = 2**25
"""Of an encoded image: what is walked through byte by byte, or sent, must end."""

_RULE = f"`image` must have at most {MAX_PIXELS} pixels, and {MAX_SIDE} on a side. Received width, height:"
_SMALL = f"`image` must have at most {MAX_BYTES} bytes. Received:"
_BLOCKS = 2**18  # of a GIF's frame: 64 MB of the largest ones, while a hostile file may be made of the smallest
_EXTENSIONS = 1024  # before a GIF's first frame
_STILL = "`image` must not be an animated WebP. Received one."


def decode_image(image: tf.Tensor) -> tf.Tensor:
    """Pixels of one encoded image: JPEG, PNG, BMP, GIF's first frame, or WebP that is not animated.

    Grey, palette and CMYK images become RGB, 16 bits the upper eight of them. Transparency is dropped: pixels show the
    colour that they are stored with, in a GIF black. JPEG gets the accurate cosine transform, which Pillow uses. The
    size is read from the header and judged before any pixel is.

    Args:
        image: scalar string, the encoded bytes.

    Returns:
        `[height, width, 3]` uint8.

    Raises:
        InvalidArgumentError: the bytes are no such image, or cut off, or the image is larger than `MAX_PIXELS`,
            `MAX_SIDE` or `MAX_BYTES`.
    """
    size = tf.strings.length(image)
    with tf.control_dependencies([_assert(size <= MAX_BYTES, [_SMALL, size])]):
        image = tf.identity(image)
    pixels = tf.cond(tf.io.is_jpeg(image), lambda: _decode_jpeg(image), lambda: _decode_others(image))
    pixels.set_shape([None, None, 3])
    return pixels


# A call that is not inlined: with so many nodes less, input pipelines are set up faster.
@tf.function(
    input_signature=[tf.TensorSpec([], tf.string)], autograph=False, experimental_attributes={"_noinline": True}
)
def _decode_others(image: tf.Tensor) -> tf.Tensor:
    formats = {b"\x89PNG": _decode_png, b"GIF8": _decode_gif, b"BM": _decode_bmp, b"RIFF": _decode_webp}
    return tf.case(
        [
            (tf.equal(tf.strings.substr(image, 0, len(magic)), magic), lambda decode=decode: decode(image))
            for magic, decode in formats.items()
        ],
        # Of none of them: TensorFlow says so, and which ones it wants.
        default=lambda: tf.io.decode_image(image, channels=3, expand_animations=False),
    )


def _decode_jpeg(image: tf.Tensor) -> tf.Tensor:
    with tf.control_dependencies([_check(tf.image.extract_jpeg_shape(image)[1::-1])]):
        return tf.io.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(image: tf.Tensor) -> tf.Tensor:
    # libpng wants the chunk of the sides to be the first.
    with tf.control_dependencies([_check(tf.io.decode_raw(_octets(image, 16, 8), tf.int32, little_endian=False))]):
        return tf.io.decode_png(image, channels=3)


def _decode_bmp(image: tf.Tensor) -> tf.Tensor:
    bits = tf.io.decode_raw(_octets(image, 28, 2), tf.uint16)[0]
    # The height is negative where rows go downwards.
    with tf.control_dependencies([_check(tf.abs(tf.io.decode_raw(_octets(image, 18, 8), tf.int32)))]):
        return tf.cond(
            tf.equal(bits, 8),
            lambda: tf.gather(_bmp_palette(image), tf.cast(tf.io.decode_bmp(image)[:, :, 0], tf.int32)),
            lambda: tf.io.decode_bmp(image, channels=3),
        )


def _bmp_palette(image: tf.Tensor) -> tf.Tensor:
    """`[256, 3]` uint8, which TensorFlow leaves out. It follows the second header as blue, green, red, and nothing."""
    length = tf.io.decode_raw(_octets(image, 14, 4), tf.int32)[0]
    colours = tf.io.decode_raw(tf.strings.substr(image, 14 + length, 1024), tf.uint8, fixed_length=1024)
    return tf.reshape(colours, [256, 4])[:, 2::-1]


def _decode_webp(image: tf.Tensor) -> tf.Tensor:
    kind, flags = _octets(image, 12, 4), tf.io.decode_raw(_octets(image, 20, 1), tf.uint8)[0]
    lossless = tf.io.decode_raw(_octets(image, 21, 4), tf.int32)[0]  # 14 bits each, less one
    lossy = tf.cast(tf.io.decode_raw(_octets(image, 26, 4), tf.uint16), tf.int32)
    canvas = tf.io.decode_raw(_octets(image, 24, 3) + b"\0" + _octets(image, 27, 3) + b"\0", tf.int32) + 1
    sides = tf.where(
        tf.equal(kind, b"VP8X"),
        canvas,
        tf.where(tf.equal(kind, b"VP8L"), (tf.bitwise.right_shift(lossless, [0, 14]) & 0x3FFF) + 1, lossy & 0x3FFF),
    )
    animated = tf.equal(kind, b"VP8X") & tf.not_equal(flags & 2, 0)
    with tf.control_dependencies([_check(sides), _assert(~animated, [_STILL])]):
        # Those with transparency have four channels, and are not given with three.
        return tf.io.decode_image(image, channels=0, expand_animations=False)[:, :, :3]


def _decode_gif(image: tf.Tensor) -> tf.Tensor:
    """All that follows the first frame is cut off, since the decoder would unpack every frame there is."""
    octets = tf.pad(tf.io.decode_raw(image, tf.uint8), [[0, 1024]])  # past the end all is zero

    def number(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(octets[at], tf.int32)

    def table(flags: tf.Tensor) -> tf.Tensor:  # length of the colour table that these flags announce
        return tf.where(flags >= 0x80, 3 * tf.bitwise.left_shift(2, flags & 7), 0)

    def after_blocks(at: tf.Tensor) -> tf.Tensor:  # each begins with its length; one of none is the last
        [last] = tf.while_loop(
            lambda at: number(at) > 0, lambda at: [at + 1 + number(at)], [at], maximum_iterations=_BLOCKS
        )
        return last + 1

    start = 13 + table(number(10))
    [frame] = tf.while_loop(
        lambda at: tf.equal(number(at), 0x21),
        lambda at: [after_blocks(at + 2)],
        [start],
        maximum_iterations=_EXTENSIONS,
    )
    header = tf.cast(octets[frame + 5 : frame + 10], tf.int32)
    sides = header[:4:2] + 256 * header[1:4:2]
    with tf.control_dependencies([_check(sides)]):
        end = after_blocks(frame + 11 + table(header[4]))
        return tf.io.decode_gif(tf.strings.substr(image, 0, end) + b";")[0]


def _octets(image: tf.Tensor, at: int, count: int) -> tf.Tensor:
    """String of `count` bytes; zeros stand where the image is shorter."""
    end = at + count
    return tf.strings.substr(tf.strings.substr(image, 0, end) + b"\0" * end, at, count)


def _check(sides: tf.Tensor) -> tf.Operation:
    """That an image is not too large, of `[2]` int32. What overflowed is negative; zero is left to the decoder."""
    wide = tf.cast(sides, tf.int64)
    fits = tf.reduce_all((wide >= 0) & (wide <= MAX_SIDE)) & (tf.reduce_prod(wide) <= MAX_PIXELS)
    return _assert(fits, [_RULE, sides])


def _assert(condition: tf.Tensor, data: list[tf.Tensor | str]) -> tf.Operation:
    """The bare op: `tf.debugging.Assert` puts a conditional around it, which costs more than it does."""
    return tf.raw_ops.Assert(condition=condition, data=data)
