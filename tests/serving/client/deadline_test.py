"""Time that is left, by a clock that the test sets."""

from types import SimpleNamespace

import pytest

from mim_tf.serving.client.deadline import Deadline


def test_what_is_left_counts_down_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("mim_tf.serving.client.deadline.time", SimpleNamespace(monotonic=lambda: now))
    deadline = Deadline(8.0)
    assert (deadline.timeout, deadline.left()) == (8.0, 8.0)
    now = 102.0
    half = deadline.half()  # of the 6 s that are left
    assert (deadline.left(), half.left(), half.timeout) == (6.0, 3.0, 3.0)
    now = 106.0
    assert (deadline.left(), half.left()) == (2.0, 0.0)
    now = 109.0
    assert deadline.left() == 0.0
    assert 0 < deadline.half().timeout < 0.001  # a call that is too late fails as a late one


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_the_timeout_must_be_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"`timeout` must be positive\. Received: "):
        Deadline(timeout)
