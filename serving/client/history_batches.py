"""Histories of different lengths as the arrays that signatures take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_PREFIX, _ITEM_IDS, _LENGTHS = "history_", "history_item_id", "history_length"
_UNTOLD = np.zeros(0)  # stands for an empty list of Python's: it has no type


def batch_histories(inputs: Mapping[str, Any], *, ragged: bool = False) -> dict[str, ArrayLike]:
    """Makes arrays of histories that are given as a list of each row's behaviours.

        batch_histories({"item_id": [7, 8], "history_item_id": [[1, 2], [3]]})
        # {"item_id": [7, 8], "history_item_id": [[1, 2], [3, -1]]}
        batch_histories({"item_id": [7, 8], "history_item_id": [[1, 2], [3]]}, ragged=True)
        # {"item_id": [7, 8], "history_item_id": [1, 2, 3], "history_length": [2, 1]}

    Args:
        inputs: Of a model. Those named `history_<column>` are lists of rows: lists or arrays of behaviours, oldest
            first, of which each row has as many in all columns. The others stay as they are.
        ragged: Whether histories become flat, for the signatures that end in `_ragged`, which saves what padding costs;
            else they are padded at the end.

    Returns:
        The inputs with histories `[rows, length]`, padded with -1 in `history_item_id`, 0 in other columns of numbers
        and b"" in those of strings; or flat ones `[behaviours]` and `history_length` `[rows]` int64. Python's integers
        are int64 then, its floats float32.

    Raises:
        ValueError: If there is no `history_item_id`, its lengths are not those of another column, a row is no list of
            numbers or strings, or nothing tells the type of a column: neither has it a behaviour, nor is there
            `<column>` of the target with a value.
    """
    columns = {name: _rows(name, value) for name, value in inputs.items() if name.startswith(_PREFIX)}
    if _ITEM_IDS not in columns:
        raise ValueError(f"`inputs` must hold {_ITEM_IDS}. Received: {', '.join(inputs)}.")
    lengths = _lengths(columns)
    flat = {name: _flat(name, rows, inputs.get(name.removeprefix(_PREFIX), [])) for name, rows in columns.items()}
    if ragged:
        return {**inputs, **flat, _LENGTHS: lengths}
    return {**inputs, **{name: _padded(name, values, lengths) for name, values in flat.items()}}


def _rows(name: str, value: Any) -> list[np.ndarray]:
    """The behaviours of each row."""
    try:
        return [_row(row) for row in value]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'`inputs["{name}"]` must be a list of lists of numbers or strings. Received: {value!r}.'
        ) from error


def _row(given: Sequence[Any] | np.ndarray) -> np.ndarray:
    row, plain = np.asarray(given), not hasattr(given, "dtype")
    if row.ndim != 1:
        raise ValueError(f"a row of {row.ndim} dimensions")
    if plain and not row.size:
        return _UNTOLD
    if row.dtype.kind in "SUO":
        return _encoded(given)
    return row.astype(np.float32) if plain and row.dtype == np.float64 else row


def _encoded(given: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Objects of type `bytes`: NumPy's own strings lose trailing zero bytes."""
    texts = [text.encode() if isinstance(text, str) else text for text in given]
    if not all(isinstance(text, bytes) for text in texts):
        raise TypeError("neither numbers nor strings")
    return np.array([*texts, None], object)[:-1]


def _lengths(columns: Mapping[str, list[np.ndarray]]) -> np.ndarray:
    """`[rows]` int64, the same of all columns."""
    lengths = [len(row) for row in columns[_ITEM_IDS]]
    for name, rows in columns.items():
        received = [len(row) for row in rows]
        if received != lengths:
            raise ValueError(
                f'`inputs["{name}"]` must have as many behaviours in each row as {_ITEM_IDS} has, {lengths}. '
                f"Received: {received}."
            )
    return np.array(lengths, np.int64)


def _flat(name: str, rows: list[np.ndarray], target: Any) -> np.ndarray:
    """All behaviours, one row's after the other's; if there are none, of the type of the target's values."""
    telling = [row for row in rows if row is not _UNTOLD] or _of_target(target)
    if not telling:
        raise ValueError(
            f'`inputs["{name}"]` must have a behaviour, or a row that is an array: nothing else tells whether it holds '
            "numbers or strings. Received: empty lists."
        )
    dtypes = {row.dtype for row in telling}
    if np.dtype(object) in dtypes and len(dtypes) > 1:
        raise ValueError(f'`inputs["{name}"]` must hold numbers or strings. Received: both.')
    values = np.concatenate(telling)
    # NumPy makes float64 of int64 and float32, as of Python's integers in one row and its floats in another.
    return values if values.dtype in dtypes else values.astype(np.float32)


def _of_target(target: Any) -> list[np.ndarray]:
    """No behaviour, of the type of the target's values; nothing where these tell none."""
    values = np.ravel(target)
    row = _row(values if hasattr(target, "dtype") else values.tolist())
    return [] if row is _UNTOLD else [row[:0]]


def _padded(name: str, values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`[rows, length]` of values `[behaviours]`."""
    padding: Any = b"" if values.dtype == object else -1 if name == _ITEM_IDS else 0
    there = np.arange(lengths.max(initial=0)) < lengths[:, np.newaxis]
    batch = np.full(there.shape, padding, values.dtype)
    batch[there] = values
    return batch
