"""Histories in a picture: what is shown, in which order, and how long bars are."""

import numpy as np
import pytest

from mim_tf.training.history_picture import COLUMNS, MOST_BEHAVIOURS, UserHistory, history_picture
from mim_tf.training.pictures import Shown

RED, YELLOW = (255, 0, 0), (255, 255, 0)
LIKED, DISLIKED, CLICKED = (0, 114, 178), (213, 94, 0), (22, 150, 72)
PHOTO = 64


def shown(colour: tuple[int, int, int], value: float, right: bool = False) -> Shown:
    return Shown(np.full((8, 8, 3), colour, np.uint8), "", value, right)


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """`[pixels, 2]`: rows and columns of a colour."""
    return np.argwhere((picture == colour).all(axis=-1))


def test_bars_are_as_long_as_weights_are_large_and_orange_where_they_are_negative() -> None:
    history = UserHistory("user 1", [shown(RED, 0.5), shown(RED, -0.25), shown(RED, 0.0)], [shown(YELLOW, 0.0)])
    picture = history_picture([history])
    for colour, weight in ((LIKED, 0.5), (DISLIKED, 0.25)):
        columns = where(picture, colour)[:, 1]
        assert np.ptp(columns) + 1 == pytest.approx(weight * PHOTO, abs=2)


def test_behaviours_are_above_the_candidates_of_whom_the_clicked_have_green_frames() -> None:
    candidates = [shown(YELLOW, 0.9), shown(YELLOW, 0.8, right=True), shown(YELLOW, 0.1)]
    picture = history_picture([UserHistory("user 1", [shown(RED, 1.0)], candidates)])
    assert where(picture, RED)[:, 0].max() < where(picture, YELLOW)[:, 0].min()
    frame, photos = where(picture, CLICKED), where(picture, YELLOW)
    assert (photos[:, 1] < frame[:, 1].min()).any()
    assert (photos[:, 1] > frame[:, 1].max()).any()
    unclicked = history_picture([UserHistory("user 1", [shown(RED, 1.0)], candidates[::2])])
    assert not len(where(unclicked, CLICKED))


def test_of_long_histories_the_latest_are_drawn() -> None:
    behaviours = [shown(RED, 0.0), *[shown(YELLOW, 0.0)] * MOST_BEHAVIOURS]
    picture = history_picture([UserHistory("user 1", behaviours, [shown((0, 0, 255), 0.0)])])
    assert not len(where(picture, RED))
    # A frame of one pixel covers the photo's upper, left and right edges.
    assert len(where(picture, YELLOW)) == MOST_BEHAVIOURS * (PHOTO - 1) * (PHOTO - 2)


def test_users_stand_one_below_the_other() -> None:
    one = UserHistory("user 1", [shown(RED, 0.5)], [shown(RED, 0.5)] * (COLUMNS + 3))
    heights = [len(history_picture([one] * count)) for count in (1, 2, 3)]
    assert heights[2] - heights[1] == heights[1] - heights[0]
    assert len({history_picture([one] * count).shape[1] for count in (1, 2)}) == 1


def test_there_must_be_users() -> None:
    with pytest.raises(ValueError, match=r"`histories` must hold at least one user\. Received: none\."):
        history_picture([])
