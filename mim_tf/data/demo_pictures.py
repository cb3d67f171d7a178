"""The demo shop's product photographs: a category's shape, cut from a coloured and patterned texture."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from mim_tf.data.demo_shapes import SHAPES, Colour, Easel

SIDE = 64
# Drawn at four times the size and scaled down: that is the anti-aliasing.
CANVAS = 4 * SIDE

# Tone -> the shades a title may name. Tastes are about tones, pictures and titles show shades.
PALETTE: dict[str, dict[str, Colour]] = {
    "warm": {"red": (206, 42, 48), "coral": (240, 108, 92), "orange": (244, 146, 36), "yellow": (246, 206, 56)},
    "cool": {"blue": (40, 96, 200), "navy": (30, 44, 104), "sky blue": (112, 180, 236), "green": (44, 148, 92)},
    "berry": {
        "purple": (118, 54, 160),
        "lavender": (178, 152, 226),
        "magenta": (204, 58, 156),
        "pink": (244, 158, 190),
    },
    "neutral": {"grey": (138, 140, 144), "black": (50, 48, 52), "beige": (216, 194, 160), "brown": (122, 84, 58)},
}

# A pattern says how much of the second colour (0 to 1) each pixel shows; x and y count periods.
Pattern = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _plain(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.zeros_like(x)


def _stripes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (y % 1.0 < 0.45).astype(np.float32)


def _checks(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((x % 1.0 < 0.5).astype(np.float32) + (y % 1.0 < 0.5)) / 2


def _staggered(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets from the nearest point of a grid whose every other row is moved by half a step."""
    row = np.floor(y)
    return (x + 0.5 * (row % 2)) % 1.0 - 0.5, y - row - 0.5


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across, down = _staggered(x, y)
    return (np.hypot(across, down) < 0.27).astype(np.float32)


def _stars(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across, down = _staggered(x / 1.4, y / 1.4)
    # Distance from the nearest of five tips' directions, in [-1, 1]: the rim runs straight from tip to notch.
    bend = np.abs((np.arctan2(across, -down) * 5 / (2 * np.pi)) % 1.0 - 0.5) * 2
    rim = 0.42 * 0.4 / (0.4 * bend + (1 - bend))
    return (np.hypot(across, down) < rim).astype(np.float32)


PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "striped": _stripes,
    "dotted": _dots,
    "checked": _checks,
    "starred": _stars,
}
# Tastes are about motifs, pictures show patterns.
MOTIFS: dict[str, tuple[str, ...]] = {
    "plain": ("plain",),
    "lines": ("striped", "checked"),
    "figures": ("dotted", "starred"),
}


def draw_product(category: str, shade: Colour, pattern: str, rng: np.random.Generator, *, photo: bool = False) -> bytes:
    """Draws one product; position, size, side and details differ from draw to draw.

    Args:
        category: a name in `SHAPES`.
        shade: the product's main colour.
        pattern: a name in `PATTERNS`.
        rng: where the accidental details come from.
        photo: a shopper's snapshot, on whatever ground there was and less well centred; otherwise a catalogue
            picture on off-white.

    Returns:
        A JPEG file of 64 x 64 pixels.

    Raises:
        ValueError: the category or the pattern is unknown.
    """
    for name, value, known in (("category", category, sorted(SHAPES)), ("pattern", pattern, sorted(PATTERNS))):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {known}. Received: {value!r}.")
    ground = int(rng.integers(236, 250))
    background = (ground, ground, ground - int(rng.integers(0, 6)))
    loose = 1.0
    if photo:
        background, loose = _mix(background, _one_shade(rng), 0.5), 2.5
    easel = Easel(
        _texture(shade, pattern, rng),
        edge=_mix(shade, (0, 0, 0), 0.4),
        background=background,
        centre=(0.5 + loose * rng.uniform(-0.04, 0.04), 0.5 + loose * rng.uniform(-0.03, 0.03)),
        scale=rng.uniform(0.80, 0.92) / loose**0.25,
        mirrored=bool(rng.random() < 0.5),
    )
    SHAPES[category](easel, rng)
    file = io.BytesIO()
    small = easel.image.resize((SIDE, SIDE), Image.Resampling.BOX)
    small.save(file, "JPEG", quality=92, subsampling=0)  # no chroma subsampling: it would smear thin patterns
    return file.getvalue()


def _texture(shade: Colour, pattern: str, rng: np.random.Generator) -> Image.Image:
    """The pattern in the product's colour and a contrasting one, over the whole canvas."""
    period = rng.uniform(0.12, 0.16) * CANVAS
    angle = np.deg2rad(rng.choice([0.0, 45.0, 90.0]))  # drawn for every pattern: the rest of the picture is the same
    angle = 0.0 if pattern == "starred" else angle  # stars stand upright
    steps = np.arange(CANVAS, dtype=np.float32) / np.float32(period)
    across, down = steps[None, :], steps[:, None]
    x = across * np.float32(np.cos(angle)) - down * np.float32(np.sin(angle)) + np.float32(rng.uniform())
    y = across * np.float32(np.sin(angle)) + down * np.float32(np.cos(angle)) + np.float32(rng.uniform())
    share = Image.fromarray(np.rint(255 * PATTERNS[pattern](x, y)).astype(np.uint8))
    second = Image.new("RGB", share.size, _contrast(shade, rng))
    return Image.composite(second, Image.new("RGB", share.size, shade), share)


def _one_shade(rng: np.random.Generator) -> Colour:
    """Any shade of the palette."""
    shades = [shade for tone in PALETTE.values() for shade in tone.values()]
    return shades[rng.integers(len(shades))]


def _contrast(shade: Colour, rng: np.random.Generator) -> Colour:
    """A near-white or a near-black of the same hue, whichever can be told from the shade."""
    brightness = np.dot(shade, (0.299, 0.587, 0.114))
    dark = brightness > 150 or (brightness > 110 and rng.random() < 0.3)
    return _mix(shade, (20, 18, 30), 0.72) if dark else _mix(shade, (255, 255, 250), 0.85)


def _mix(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(one, other, strict=True))
    return red, green, blue
