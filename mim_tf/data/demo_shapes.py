"""The outlines of the demo shop's products: one small function per category, drawn on an `Easel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]

RUBBER: Colour = (222, 219, 210)
STEEL: Colour = (168, 172, 178)
GOLD: Colour = (206, 168, 84)
WOOD: Colour = (150, 106, 66)
WHITE: Colour = (248, 247, 244)
INK: Colour = (52, 50, 54)


class Easel:
    """A canvas addressed in product coordinates: the unit square, x to the right, y downwards.

    Args:
        texture: what the product is made of, in the size of the canvas; a part with `fill=None` shows it.
        edge: colour of the thin outline around textured parts, so that a pale product stands out.
        background: colour of the canvas.
        centre: where the middle of the unit square lies on the canvas, as fractions of its size.
        scale: side of the unit square, as a fraction of the canvas' side.
        mirrored: whether left and right are swapped.
    """

    def __init__(
        self, texture: Image.Image, edge: Colour, background: Colour, *, centre: Point, scale: float, mirrored: bool
    ) -> None:
        self.image = Image.new("RGB", texture.size, background)
        self.edge = edge
        self.background = background
        self._texture = texture
        self._centre = centre
        self._scale = scale
        self._mirrored = mirrored

    def polygon(self, points: Sequence[Point], fill: Colour | None = None, *, rounds: int = 0) -> None:
        """Fills a polygon; each of the `rounds` cuts its corners once more, which makes it smooth."""
        corners = np.asarray(points, np.float64)
        for _ in range(rounds):  # Chaikin's corner cutting: two points per edge, at 1/4 and 3/4
            following = np.roll(corners, -1, axis=0)
            corners = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], 1).reshape(-1, 2)
        pixels = [self._pixel((x, y)) for x, y in corners.tolist()]
        self._fill(lambda pen: pen.polygon(pixels, fill=255), fill)
        if fill is None:
            self._stroke([*pixels, pixels[0]], 0.014, self.edge)

    def ellipse(self, box: Box, fill: Colour | None = None) -> None:
        """Fills the ellipse inscribed in (left, top, right, bottom)."""
        left, top, right, bottom = box
        turn = np.linspace(0.0, 2 * np.pi, 60, endpoint=False)
        x = (left + right) / 2 + (right - left) / 2 * np.cos(turn)
        y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(turn)
        self.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draws a line through the points; `width` is in product coordinates."""
        self._stroke([self._pixel(point) for point in points], width, fill)

    def arc(self, box: Box, start: float, stop: float, width: float, fill: Colour) -> None:
        """Draws part of an ellipse's rim, from `start` to `stop` degrees, clockwise from the right."""
        left, top, right, bottom = box
        turn = np.deg2rad(np.linspace(start, stop, 30))
        x = (left + right) / 2 + (right - left) / 2 * np.cos(turn)
        y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(turn)
        self.line(list(zip(x.tolist(), y.tolist(), strict=True)), width, fill)

    def _pixel(self, point: Point) -> Point:
        x = -(point[0] - 0.5) if self._mirrored else point[0] - 0.5
        width, height = self.image.size
        return (
            (self._centre[0] + self._scale * x) * width,
            (self._centre[1] + self._scale * (point[1] - 0.5)) * height,
        )

    def _fill(self, draw: Callable[[ImageDraw.ImageDraw], None], fill: Colour | None) -> None:
        mask = Image.new("L", self.image.size, 0)
        draw(ImageDraw.Draw(mask))
        self.image.paste(self._texture if fill is None else fill, mask=mask)

    def _stroke(self, pixels: list[Point], width: float, fill: Colour) -> None:
        thickness = max(1, round(width * self._scale * self.image.width))
        ImageDraw.Draw(self.image).line(pixels, fill=fill, width=thickness, joint="curve")


def _both_sides(left: Sequence[Point]) -> list[Point]:
    """An outline symmetric about x = 0.5, from its left half listed top to bottom."""
    return [*left, *((1.0 - x, y) for x, y in reversed(left))]


def _t_shirt(easel: Easel, rng: np.random.Generator) -> None:
    sleeve = rng.uniform(0.0, 0.14)
    tip, cuff = (0.09 - 0.03 * sleeve, 0.36 + sleeve), (0.21, 0.43 + sleeve)
    easel.polygon(_both_sides([(0.40, 0.13), (0.30, 0.16), tip, cuff, (0.28, 0.36), (0.27, 0.88)]))
    if rng.random() < 0.5:
        easel.polygon([(0.40, 0.125), (0.60, 0.125), (0.50, 0.29)], easel.edge)
    else:
        easel.ellipse((0.40, 0.07, 0.60, 0.22), easel.edge)
    easel.polygon([(0.38, 0.0), (0.62, 0.0), (0.61, 0.13), (0.39, 0.13)], easel.background)  # the neck opening is open


def _dress(easel: Easel, rng: np.random.Generator) -> None:
    flare, hem = rng.uniform(0.12, 0.22), rng.uniform(0.84, 0.95)
    if rng.random() < 0.5:
        easel.polygon([(0.36, 0.12), (0.24, 0.30), (0.31, 0.35), (0.40, 0.24)])
        easel.polygon([(0.64, 0.12), (0.76, 0.30), (0.69, 0.35), (0.60, 0.24)])
    else:
        for x in (0.39, 0.61):
            easel.line([(x, 0.06), (x, 0.16)], 0.03, easel.edge)
    easel.polygon(_both_sides([(0.42, 0.17), (0.36, 0.12), (0.37, 0.28), (0.41, 0.42), (flare, hem)]))
    easel.polygon([(0.405, 0.40), (0.595, 0.40), (0.605, 0.45), (0.395, 0.45)], easel.edge)


def _trousers(easel: Easel, rng: np.random.Generator) -> None:
    ankle, width = rng.uniform(0.86, 0.95), rng.uniform(0.15, 0.24)
    easel.polygon(_both_sides([(0.30, 0.07), (0.25, 0.34), (0.22, ankle), (0.22 + width, ankle), (0.485, 0.38)]))
    easel.polygon([(0.30, 0.07), (0.70, 0.07), (0.71, 0.125), (0.29, 0.125)], easel.edge)
    easel.line([(0.5, 0.12), (0.5, 0.28)], 0.014, easel.edge)
    easel.ellipse((0.48, 0.075, 0.52, 0.115), GOLD)


def _hat(easel: Easel, rng: np.random.Generator) -> None:
    dome = [(0.22, 0.66), (0.22, 0.34), (0.34, 0.20), (0.66, 0.20), (0.78, 0.34), (0.78, 0.66)]
    if rng.random() < 0.5:  # sun hat
        easel.ellipse((0.03, 0.52, 0.97, 0.80))
        easel.polygon(dome, rounds=3)
        easel.polygon([(0.235, 0.54), (0.765, 0.54), (0.775, 0.62), (0.225, 0.62)], easel.edge)
    else:  # cap
        easel.polygon([(0.16, 0.70), (0.16, 0.34), (0.32, 0.22), (0.60, 0.22), (0.74, 0.40), (0.74, 0.70)], rounds=3)
        easel.polygon([(0.40, 0.60), (0.74, 0.56), (0.98, 0.66), (0.97, 0.74), (0.70, 0.69), (0.40, 0.70)], rounds=2)
        easel.ellipse((0.41, 0.235, 0.49, 0.275), easel.edge)


def _sneaker(easel: Easel, rng: np.random.Generator) -> None:
    ankle = rng.uniform(0.18, 0.36)
    heel = [(0.07, 0.74), (0.08, 0.56), (0.11, ankle), (0.40, ankle)]
    easel.polygon([*heel, (0.44, 0.42), (0.60, 0.50), (0.88, 0.52), (0.97, 0.74)], rounds=1)
    easel.ellipse((0.14, ankle - 0.035, 0.37, ankle + 0.045), easel.edge)
    easel.polygon([(0.72, 0.74), (0.79, 0.49), (0.96, 0.54), (0.97, 0.74)], RUBBER, rounds=2)
    easel.polygon([(0.05, 0.69), (0.95, 0.69), (0.99, 0.78), (0.05, 0.78)], RUBBER, rounds=2)
    easel.line([(0.09, 0.695), (0.94, 0.695)], 0.014, easel.edge)
    easel.line([(0.09, 0.78), (0.95, 0.78)], 0.03, easel.edge)
    for step in range(4):  # laces
        x, y = 0.43 + 0.07 * step, 0.44 + 0.03 * step
        easel.line([(x, y), (x + 0.04, y + 0.11)], 0.025, WHITE)


def _handbag(easel: Easel, rng: np.random.Generator) -> None:
    top, handle = rng.uniform(0.36, 0.46), rng.uniform(0.06, 0.16)
    easel.arc((0.30, handle, 0.70, 2 * top - handle), 180, 360, 0.05, easel.edge)
    easel.polygon([(0.18, top), (0.82, top), (0.92, 0.90), (0.08, 0.90)], rounds=1)
    if rng.random() < 0.5:  # a flap
        easel.polygon([(0.17, top), (0.83, top), (0.72, top + 0.22), (0.28, top + 0.22)], easel.edge, rounds=1)
    easel.ellipse((0.45, top + 0.15, 0.55, top + 0.25), GOLD)


def _watch(easel: Easel, rng: np.random.Generator) -> None:
    easel.polygon([(0.34, 0.01), (0.66, 0.01), (0.72, 0.35), (0.72, 0.65), (0.66, 0.99), (0.34, 0.99), (0.28, 0.65),
                   (0.28, 0.35)])  # fmt: skip
    metal = GOLD if rng.random() < 0.5 else STEEL
    easel.polygon([(0.76, 0.46), (0.84, 0.46), (0.84, 0.54), (0.76, 0.54)], metal)
    if rng.random() < 0.5:
        easel.ellipse((0.22, 0.22, 0.78, 0.78), metal)
        easel.ellipse((0.28, 0.28, 0.72, 0.72), WHITE)
    else:
        easel.polygon([(0.24, 0.25), (0.76, 0.25), (0.76, 0.75), (0.24, 0.75)], metal, rounds=1)
        easel.polygon([(0.29, 0.30), (0.71, 0.30), (0.71, 0.70), (0.29, 0.70)], WHITE, rounds=1)
    hour = rng.uniform(0, 2 * np.pi)
    easel.line([(0.5, 0.5), (0.5 + 0.12 * np.cos(hour), 0.5 + 0.12 * np.sin(hour))], 0.035, INK)
    easel.line([(0.5, 0.5), (0.5, 0.33)], 0.025, INK)


def _umbrella(easel: Easel, rng: np.random.Generator) -> None:
    grip = WOOD if rng.random() < 0.5 else INK
    easel.line([(0.5, 0.04), (0.5, 0.84)], 0.03, grip)
    easel.arc((0.5, 0.76, 0.66, 0.94), 0, 180, 0.035, grip)
    turn = np.linspace(np.pi, 2 * np.pi, 30)
    dome = list(zip((0.5 + 0.46 * np.cos(turn)).tolist(), (0.54 + 0.44 * np.sin(turn)).tolist(), strict=True))
    scallops = [(0.96 - 0.92 * step / 32, 0.54 - 0.05 * abs(np.sin(np.pi * step / 8))) for step in range(1, 32)]
    easel.polygon([*dome, *scallops])
    for foot in (0.27, 0.73):
        easel.line([(0.5, 0.10), ((foot + 0.5) / 2 + (foot - 0.5) * 0.22, 0.28), (foot, 0.53)], 0.014, easel.edge)


def _mug(easel: Easel, rng: np.random.Generator) -> None:
    top, waist = rng.uniform(0.14, 0.26), rng.uniform(0.0, 0.06)
    easel.arc((0.50, top + 0.14, 0.94, 0.74), -95, 95, 0.085, easel.edge)
    easel.polygon([(0.14, top), (0.70, top), (0.70 - waist, 0.84), (0.62, 0.89), (0.22, 0.89), (0.14 + waist, 0.84)])
    easel.ellipse((0.14, top - 0.06, 0.70, top + 0.06), WHITE)
    easel.ellipse((0.18, top - 0.035, 0.66, top + 0.05), easel.edge)


def _chair(easel: Easel, rng: np.random.Generator) -> None:
    frame = WOOD if rng.random() < 0.6 else INK
    for top, foot in (((0.30, 0.60), (0.28, 0.84)), ((0.70, 0.60), (0.72, 0.84))):  # the legs behind
        easel.line([top, foot], 0.04, frame)
    for x in (0.30, 0.70):
        easel.line([(x, 0.10), (x, 0.58)], 0.05, frame)
    easel.polygon([(0.24, 0.05), (0.76, 0.05), (0.74, 0.46), (0.26, 0.46)], rounds=int(rng.integers(0, 3)))
    for top, foot in (((0.19, 0.66), (0.15, 0.97)), ((0.81, 0.66), (0.85, 0.97))):
        easel.line([top, foot], 0.055, frame)
    easel.polygon([(0.24, 0.51), (0.76, 0.51), (0.87, 0.66), (0.13, 0.66)])
    easel.polygon([(0.13, 0.66), (0.87, 0.66), (0.86, 0.715), (0.14, 0.715)], easel.edge)


def _lamp(easel: Easel, rng: np.random.Generator) -> None:
    top, metal = rng.uniform(0.28, 0.40), GOLD if rng.random() < 0.5 else INK
    if rng.random() < 0.5:
        easel.line([(0.5, 0.50), (0.5, 0.90)], 0.045, metal)
    else:  # a bulbous foot
        easel.polygon(
            [(0.46, 0.52), (0.54, 0.52), (0.66, 0.72), (0.58, 0.92), (0.42, 0.92), (0.34, 0.72)], metal, rounds=2
        )
    easel.ellipse((0.30, 0.86, 0.70, 0.96), metal)
    easel.polygon([(top, 0.06), (1 - top, 0.06), (0.86, 0.54), (0.14, 0.54)])


def _cushion(easel: Easel, rng: np.random.Generator) -> None:
    corners = [(0.08, 0.10), (0.92, 0.10), (0.92, 0.90), (0.08, 0.90)]
    if rng.random() < 0.5:  # tassels
        for x, y in corners:
            easel.ellipse((x - 0.06, y - 0.06, x + 0.06, y + 0.06), easel.edge)
    puffed = [(0.08, 0.10), (0.30, 0.15), (0.70, 0.15), (0.92, 0.10), (0.86, 0.32), (0.86, 0.68)]
    easel.polygon([*puffed, *((1 - x, 1 - y) for x, y in puffed)], rounds=1)
    if rng.random() < 0.5:  # a button
        easel.ellipse((0.46, 0.46, 0.54, 0.54), easel.edge)


SHAPES: dict[str, Callable[[Easel, np.random.Generator], None]] = {
    "T-shirt": _t_shirt,
    "dress": _dress,
    "trousers": _trousers,
    "hat": _hat,
    "sneakers": _sneaker,
    "handbag": _handbag,
    "watch": _watch,
    "umbrella": _umbrella,
    "mug": _mug,
    "chair": _chair,
    "lamp": _lamp,
    "cushion": _cushion,
}
