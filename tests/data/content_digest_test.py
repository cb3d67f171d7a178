"""The digest of a title and an image: known values, and what it tells apart."""

import pytest

from mim_tf.data.content_digest import content_digest


@pytest.mark.parametrize(
    ("title", "image", "expected"),
    [
        # printf '\0\0\0\0\0\0\0\7red mug\1\2' | sha256sum | cut -c -32
        ("red mug", b"\1\2", "e11ba21d924a83829f17047a06559c07"),
        # printf '\0\0\0\0\0\0\0\6ärmel' | sha256sum | cut -c -32
        ("ärmel", b"", "e75b76236c9862beaa31082282e7d67e"),
    ],
)
def test_it_is_sha256_of_the_titles_length_the_title_and_the_image(title: str, image: bytes, expected: str) -> None:
    assert content_digest(title, image) == expected


def test_nothing_moves_from_the_title_into_the_image() -> None:
    assert content_digest("red mug", b"x") != content_digest("red mu", b"gx")


def test_both_count() -> None:
    digests = {content_digest(title, image) for title in ("", "a", "a ") for image in (b"", b"\0", b"\0\0")}
    assert len(digests) == 9
