"""The catalogue rows that a pair's user chose, as one value of a record: little-endian int64, ascending, as bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_DTYPE = np.dtype("<i8")


def pack(lists: pa.ListArray) -> pa.LargeBinaryArray:
    """Lists of rows to bytes; a null list becomes empty bytes."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) * _DTYPE.itemsize
    rows = lists.flatten().to_numpy().astype(_DTYPE)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(rows)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(lists), buffers)


def unpack(packed: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of all values, one after the other, and how many there are of each."""
    lengths = np.array([len(value) for value in packed], np.int64) // _DTYPE.itemsize
    return np.frombuffer(b"".join(packed), _DTYPE), lengths
