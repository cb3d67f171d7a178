"""Drawn products are there, in their colour, on a pale ground."""

import io

import numpy as np
import pytest
from PIL import Image

from mim_tf.data.demo_pictures import PATTERNS, draw_product
from mim_tf.data.demo_shapes import SHAPES


def _pixels(category: str, pattern: str, seed: int = 0) -> np.ndarray:
    # A pure green occurs nowhere else in a picture: what is green is the product.
    file = draw_product(category, (0, 200, 0), pattern, np.random.default_rng(seed))
    with Image.open(io.BytesIO(file)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 64))
        return np.asarray(picture).astype(np.int64)


def _green(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 1] - np.maximum(pixels[..., 0], pixels[..., 2])) > 100


@pytest.mark.parametrize("category", sorted(SHAPES))
def test_product_shows_its_colour_on_a_pale_ground(category: str) -> None:
    pixels = _pixels(category, "plain")
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert 0.08 < _green(pixels).mean() < 0.7
    assert border.min() > 220


@pytest.mark.parametrize("pattern", sorted(set(PATTERNS) - {"plain"}))
@pytest.mark.parametrize("category", sorted(SHAPES))
def test_pattern_shows_on_every_product(category: str, pattern: str) -> None:
    # From the same seed come the same outlines: what differs from the plain product is the pattern.
    plain, patterned = _pixels(category, "plain"), _pixels(category, pattern)
    differs = np.abs(plain - patterned).max(axis=-1) > 60
    assert 0.1 < differs[_green(plain)].mean() < 0.9
    assert differs[~_green(plain)].mean() < 0.05


def test_no_two_draws_are_alike() -> None:
    assert np.abs(_pixels("mug", "plain", 1) - _pixels("mug", "plain", 2)).max() > 50


def test_unknown_category_and_pattern_list_the_known_ones() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"`category` must be one of \['T-shirt', .*\]\. Received: 'boat'\."):
        draw_product("boat", (0, 0, 0), "plain", rng)
    with pytest.raises(ValueError, match=r"`pattern` must be one of \['checked', .*\]\. Received: 'wavy'\."):
        draw_product("mug", (0, 0, 0), "wavy", rng)
