"""Grids of results and of images: what is shown, where, and how large."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.training.pictures import Shown, comparison_grid, retrieval_grid

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (22, 150, 72)
TITLES = ["", "Blue shirt", "x" * 500, "word " * 200, "女士连衣裙", "a\nb\t\x00\ud800"]


def square(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((30, 30, 3), colour, np.uint8)


def results(right: int | None, count: int = 5) -> list[Shown]:
    return [Shown(square(BLUE), "Blue shirt", 0.5, number == right) for number in range(count)]


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """`[pixels, 2]`: rows and columns of a colour."""
    return np.argwhere((picture == colour).all(axis=-1))


@pytest.mark.parametrize(
    ("direction", "query_side", "result_side"),
    [("image_to_title", 128, 80), ("title_to_image", 80, 128), ("query_to_item", 128, 128)],
)
def test_the_photo_is_large_where_images_were_compared(direction: str, query_side: int, result_side: int) -> None:
    picture = retrieval_grid([(Shown(square(RED), "Red shoe"), results(None))], direction=direction)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert len(where(picture, RED)) == query_side**2
    assert len(where(picture, BLUE)) == 5 * result_side**2
    assert where(picture, RED)[:, 1].max() < where(picture, BLUE)[:, 1].min()  # the query is at the left


@pytest.mark.parametrize("direction", ["image_to_title", "title_to_image", "query_to_item"])
def test_a_green_frame_goes_around_the_right_results_alone(direction: str) -> None:
    assert not len(where(retrieval_grid([(Shown(square(RED), ""), results(None))], direction=direction), GREEN))
    for right in range(5):
        picture = retrieval_grid([(Shown(square(RED), ""), results(right))], direction=direction)
        frame, photos = where(picture, GREEN), where(picture, BLUE)
        left, end = frame[:, 1].min(), frame[:, 1].max()
        top, bottom = frame[:, 0].min(), frame[:, 0].max()
        within = (left < photos[:, 1]) & (photos[:, 1] < end) & (top < photos[:, 0]) & (photos[:, 0] < bottom)
        assert within.sum() == len(photos) / 5
        assert (photos[:, 1] < left).sum() == right * len(photos) / 5  # as many results before it


def test_a_title_and_a_similarity_are_written_on_their_card_alone() -> None:
    def picture(result: Shown) -> np.ndarray:
        row = (Shown(square(RED), "Red shoe"), [result, *results(None, 4)])
        return retrieval_grid([row, row], direction="title_to_image").astype(int)

    blank = picture(Shown(square(BLUE), ""))
    photos = where(blank, BLUE)
    left = photos[:, 1].min()
    for written in (Shown(square(BLUE), "Skirt"), Shown(square(BLUE), "", similarity=0.73)):
        changed = np.argwhere((picture(written) != blank).any(axis=-1))
        assert len(changed) > 50
        assert left - 1 <= changed[:, 1].min()
        assert changed[:, 1].max() < left + 128
        below = changed[:, 0] >= photos[:, 0].min() + 128  # under the first row's photos or the second's
        assert below.all()


def test_every_row_adds_the_same_height_and_at_most_five_results_show() -> None:
    row = (Shown(square(RED), "Red shoe"), results(0, 7))
    one, two, three = (retrieval_grid([row] * rows, direction="title_to_image") for rows in (1, 2, 3))
    assert three.shape[0] - two.shape[0] == two.shape[0] - one.shape[0] > 128
    assert one.shape[1] == three.shape[1]
    assert len(where(one, BLUE)) == 5 * 128**2


def test_rows_may_have_fewer_results_than_others_or_none() -> None:
    query = Shown(square(RED), "Red shoe")
    picture = retrieval_grid([(query, results(0, 2)), (query, []), (query, results(1, 1))], direction="title_to_image")
    assert len(where(picture, BLUE)) == 3 * 128**2
    assert len(where(retrieval_grid([(query, [])], direction="title_to_image"), RED)) == 80**2


@pytest.mark.parametrize("direction", ["image_to_title", "title_to_image", "query_to_item"])
@pytest.mark.parametrize("title", TITLES)
def test_any_title_leaves_photos_and_frames_untouched(title: str, direction: str) -> None:
    def picture(text: str) -> np.ndarray:
        found = [Shown(square(BLUE), text, -0.99, number == 2) for number in range(5)]
        return retrieval_grid([(Shown(square(RED), text), found)] * 2, direction=direction)

    for colour in (RED, BLUE, GREEN):
        np.testing.assert_array_equal(where(picture(title), colour), where(picture("Skirt"), colour))


def test_a_broken_image_does_not_end_a_training() -> None:
    picture = retrieval_grid([(Shown(b"no image", "Red shoe"), results(0))], direction="image_to_title")
    assert len(where(picture, (190, 190, 190))) == 128**2


def test_bad_rows() -> None:
    with pytest.raises(ValueError, match=r"`rows` must hold at least one query. Received: none\."):
        retrieval_grid([], direction="title_to_image")
    with pytest.raises(
        ValueError, match=r"must be one of \['image_to_title', 'query_to_item', 'title_to_image'\]. Received"
    ):
        retrieval_grid([(Shown(square(RED), ""), [])], direction="both")


def test_images_are_compared_row_by_row_under_their_headings() -> None:
    colours = np.array([[RED, BLUE], [(255, 255, 0), (0, 255, 255)]], np.uint8)  # [row, column]
    images = np.broadcast_to(colours[:, :, np.newaxis, np.newaxis], (2, 2, 16, 16, 3))
    picture = comparison_grid({"original": images[:, 0], "reconstructed": images[:, 1]})
    corners = np.array([[where(picture, colour).min(axis=0) for colour in row] for row in colours])
    assert all(len(where(picture, colour)) == 128**2 for colour in colours.reshape(-1, 3))
    assert (corners[0, :, 0] == corners[0, 0, 0]).all()  # a row is level
    assert (corners[:, 0, 1] == corners[0, 0, 1]).all()  # a column is upright
    assert corners[1, 0, 0] - corners[0, 0, 0] == corners[0, 1, 1] - corners[0, 0, 1] > 128
    for heading in ("original", "reconstructed " * 9):  # a heading, however long, stays over its own column
        other = comparison_grid({"": images[:, 0], heading: images[:, 1]})
        changed = np.argwhere((other != comparison_grid({"": images[:, 0], " ": images[:, 1]})).any(axis=-1))
        assert corners[0, 1, 1] - 1 <= changed[:, 1].min()
        assert changed[:, 1].max() < corners[0, 1, 1] + 128
        assert changed[:, 0].max() < corners[0, 1, 0]


@pytest.mark.parametrize("columns", [{}, {"a": np.zeros((0, 4, 4, 3), np.uint8)}])
def test_nothing_to_compare_is_refused(columns: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"`columns` must hold equally many images each, at least one. Received: \{"):
        comparison_grid(columns)


def test_columns_of_different_lengths_are_refused() -> None:
    images = np.zeros((3, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"equally many images each, at least one. Received: \{'a': 3, 'b': 2\}"):
        comparison_grid({"a": images, "b": images[:2]})


def test_tensorboard_takes_the_picture() -> None:
    picture = comparison_grid({"original": np.zeros((1, 4, 4, 3), np.uint8)})
    encoded = tf.io.encode_png(picture)
    np.testing.assert_array_equal(tf.io.decode_png(encoded), picture)
