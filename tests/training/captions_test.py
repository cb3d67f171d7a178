"""Captions: all of a text that fits, in the room that it has, whatever the text."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mim_tf.training import captions
from mim_tf.training.captions import Caption, wrapped

TITLES = [
    "",
    " \n\t ",
    "Palm Tree Girls Sp Jace Sko White Skirts",
    "first line\nsecond line\ttab",
    "word " * 100,
    "x" * 10_000,
    "女士连衣裙夏季新款长裙修身显瘦韩版气质",
    "Crème brûlée “été” 50% ₹ 🙂🙂 👩‍👩‍👧",
    "العربية \u202e turned \x00 around \ud800",
]


@pytest.fixture(params=["the system's font", "Pillow's font"])
def font(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageFont.FreeTypeFont]:
    if request.param == "Pillow's font":
        monkeypatch.setattr(captions, "_FONTS", ())
    captions._font.cache_clear()
    yield captions._font(12)
    captions._font.cache_clear()


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("lines", [1, 3])
def test_every_line_fits(title: str, lines: int, font: ImageFont.FreeTypeFont) -> None:
    result = wrapped(title, font, 100, lines)
    assert len(result) <= lines
    assert all(font.getlength(line) <= 100 for line in result)
    assert bool(result) == bool(title.strip())


def test_what_fits_is_kept_and_what_does_not_is_an_ellipsis(font: ImageFont.FreeTypeFont) -> None:
    title = "Palm Tree Girls Sp Jace Sko White Skirts"
    whole = wrapped(title, font, 100, 9)
    assert len(whole) > 2
    assert " ".join(whole) == title
    # Greedy: the next line's first word would not have fitted.
    assert all(font.getlength(f"{line} {after.split()[0]}") > 100 for line, after in itertools.pairwise(whole))
    two = wrapped(title, font, 100, 2)
    assert two[0] == whole[0]
    assert two[1].endswith("…")
    assert title.startswith(f"{two[0]} {two[1][:-1]}")


def test_a_word_longer_than_a_line_is_broken_and_loses_nothing(font: ImageFont.FreeTypeFont) -> None:
    word = "Donaudampfschifffahrtsgesellschaft"
    result = wrapped(f"die {word} fährt", font, 100, 9)
    assert result[0] == "die"
    assert "".join(result[1:]).startswith(word)


def test_a_line_too_narrow_for_a_letter_still_ends(font: ImageFont.FreeTypeFont) -> None:
    assert wrapped("abc", font, 1, 9) == ["a", "b", "c"]
    assert wrapped("abc", font, 1, 1) == ["…"]


@pytest.mark.parametrize("title", TITLES)
def test_ink_stays_within_the_captions_room(title: str, font: ImageFont.FreeTypeFont) -> None:
    caption = Caption(12, lines=2)
    canvas = Image.new("RGB", (160, 80), "white")
    caption.draw(ImageDraw.Draw(canvas), (20, 20), title, 100)
    ink = np.argwhere((np.asarray(canvas) < 255).any(axis=-1))
    assert bool(len(ink)) == bool(title.strip())
    if len(ink):
        (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0)
        assert 20 <= top <= bottom < 20 + caption.height + 2  # a tail of the last line may hang a little
        assert 19 <= left <= right <= 121
