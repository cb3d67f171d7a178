"""A call that a SavedModel must answer as the training model does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """One call of one signature.

    Args:
        signature: name of the signature.
        inputs: all of its inputs by name, in the signature's dtypes; strings are `bytes` or `str` objects.
        expected: outputs of the training model by name; of the signature's outputs, those that are to be compared.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
