"""The item ids of a request: their types, and each item once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_PADDING = (-1, b"")


def item_ids_of(name: str, given: ArrayLike) -> np.ndarray:
    """Makes int64 of integers, and objects of type `bytes` of strings.

    Args:
        name: Of the argument, for errors.
        given: `[...]` integers, or text or bytes.

    Raises:
        ValueError: If they are neither, or no array.
    """
    try:
        item_ids = np.asarray(given)
        if item_ids.dtype.kind in "iu" and np.can_cast(item_ids.dtype, np.int64):
            return item_ids.astype(np.int64)
        texts = np.asarray(given, object)  # NumPy's own strings lose trailing zero bytes
        encoded = [_encoded(text) for text in texts.ravel()]
        return np.array([*encoded, None], object)[:-1].reshape(texts.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array of integers that fit int64 or of strings, all rows of one length. "
            f"Received: {given!r}."
        ) from error


def distinct(*given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds each item once.

    Args:
        given: Arrays of item ids, all of the first one's type; padding among them.

    Returns:
        The distinct items without padding, and for all items given, one after the other, where in these they are;
        padding is at -1.
    """
    numbers: dict[Any, int] = dict.fromkeys(_PADDING, -1)
    first = len(numbers)
    flat = [item_id for item_ids in given for item_id in item_ids.ravel().tolist()]
    places = np.fromiter((numbers.setdefault(item_id, len(numbers) - first) for item_id in flat), np.int64, len(flat))
    return np.array([*numbers][first:], given[0].dtype), places


def _encoded(item_id: object) -> bytes:
    if isinstance(item_id, str):
        return item_id.encode()
    if not isinstance(item_id, bytes):  # bytes(n) of an integer would be n zeros
        raise TypeError(f"an item id of type {type(item_id).__name__}")
    return item_id
