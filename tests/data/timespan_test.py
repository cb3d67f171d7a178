"""Times in messages."""

import pytest

from mim_tf.data.timespan import readable


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1_588_291_200, "1588291200 (2020-05-01 00:00:00)"),
        (1_588_291_200_000, "1588291200000 (no date: is it in seconds?)"),
        (10**18, f"{10**18} (no date: is it in seconds?)"),
    ],
)
def test_times_are_given_as_dates_too(seconds: int, text: str) -> None:
    assert readable(seconds) == text
