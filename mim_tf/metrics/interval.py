"""A number and how sure it is."""

from typing import NamedTuple


class Interval(NamedTuple):
    """An estimate with its confidence interval.

    Attributes:
        estimate: the number itself.
        lower: the interval's lower end, NaN where there is none.
        upper: its upper end, NaN where there is none.
    """

    estimate: float
    lower: float
    upper: float


def check_confidence(confidence: float) -> None:
    """Check that a confidence is a share.

    Raises:
        ValueError: if it is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must be between 0 and 1, 0.95 for one. Received: {confidence}.")
