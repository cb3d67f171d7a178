"""One case of a reference, as our side sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """One case: where it is, what `case.json` says, and the reference's inputs and outputs."""

    folder: Path
    described: dict[str, Any]
    arrays: dict[str, np.ndarray]
