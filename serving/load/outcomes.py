"""What became of the requests of a phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import grpc
import numpy as np

OK = grpc.StatusCode.OK.name
_WAITED = (OK, grpc.StatusCode.DEADLINE_EXCEEDED.name)


class Outcome(NamedTuple):
    """One request; times in seconds since the start of its phase."""

    due: float  # when it arrived
    started: float  # when it was sent
    ended: float  # when its answer or its error was there
    code: str  # gRPC's


class Outcomes(NamedTuple):
    """All requests of a phase, in the order in which they were due."""

    due: np.ndarray  # [requests] seconds since the start of the phase
    started: np.ndarray  # [requests]
    ended: np.ndarray  # [requests]
    codes: np.ndarray  # [requests] str

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Outcomes:
        """As columns."""
        due, started, ended, codes = zip(*sorted(outcomes), strict=True) if outcomes else ((), (), (), ())
        return cls(np.array(due, float), np.array(started, float), np.array(ended, float), np.array(codes, str))

    @property
    def latency(self) -> np.ndarray:
        """`[requests]` seconds from when a request was due, whenever it was sent, to its answer or error.

        Counted from when it was sent, a server that stands still would hide the wait of all who came meanwhile
        (coordinated omission).
        """
        return self.ended - self.due

    @property
    def waited(self) -> np.ndarray:
        """`[requests]` bool: the requests that say how long one waits.

        Those answered, and those whose time was up: left out, the slowest would make a server look fast. Other errors
        tell nothing of it: a refusal is quick.
        """
        return np.isin(self.codes, _WAITED)

    @property
    def lateness(self) -> np.ndarray:
        """`[requests]` seconds between when a request was due and when it was sent: the generator's own delay."""
        return self.started - self.due

    @property
    def errors(self) -> dict[str, int]:
        """How many requests failed, by gRPC code."""
        return dict(sorted(Counter(self.codes[self.codes != OK].tolist()).items()))
