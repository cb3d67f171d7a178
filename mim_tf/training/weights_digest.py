"""A few digits that tell whether workers who trained in step have the same weights."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable

import numpy as np


def tell_weights(name: str, weights: Iterable[np.ndarray]) -> None:
    """Print a digest of weights, for the logs of the workers to be compared.

    Args:
        name: of the training.
        weights: all of them, in the same order on all workers.
    """
    digest = hashlib.sha256()
    for values in weights:
        digest.update(np.ascontiguousarray(values).tobytes())
    print(f"{name}: weights {digest.hexdigest()[:16]}", file=sys.stderr, flush=True)
