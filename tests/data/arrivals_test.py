"""Files brought in the background: the one that is waited for first, and each error to who waits for its file."""

import threading
from collections import Counter

import pytest

from mim_tf.data.arrivals import Arrivals
from mim_tf.errors import DataError

NAMES = [f"file {number}" for number in range(10)]


def test_nothing_begins_before_the_first_wait() -> None:
    brought: list[str] = []
    arrivals = Arrivals({name: lambda name=name: brought.append(name) for name in NAMES})
    assert len(arrivals) == len(NAMES)
    assert "file 3" in arrivals
    assert brought == []
    arrivals.wait("a file that is there")
    assert brought == []
    arrivals.wait_for_all()
    assert Counter(brought) == Counter(NAMES)


def test_who_waits_for_a_late_file_does_not_wait_for_those_before() -> None:
    """The threads are all held up by the first files."""
    go_on, brought = threading.Event(), []

    def bring(name: str) -> None:
        if name != NAMES[-1]:
            assert go_on.wait(60)
        brought.append(name)

    arrivals = Arrivals({name: lambda name=name: bring(name) for name in NAMES})
    arrivals.wait(NAMES[-1])
    assert brought == [NAMES[-1]]
    go_on.set()
    arrivals.wait_for_all()
    assert set(brought) == set(NAMES)


def test_an_error_reaches_who_waits_for_its_file_and_nobody_else() -> None:
    def fail() -> None:
        raise DataError("file 2 is gone")

    arrivals = Arrivals({name: fail if name == "file 2" else int for name in NAMES})
    for name in NAMES:
        if name != "file 2":
            arrivals.wait(name)
    for _ in range(2):
        with pytest.raises(DataError, match="file 2 is gone"):
            arrivals.wait("file 2")
    with pytest.raises(DataError, match="file 2 is gone"):
        arrivals.wait_for_all()
