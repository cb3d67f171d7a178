"""Packed rows: what is packed comes back, the bytes are what the schema says."""

import struct

import numpy as np
import pyarrow as pa

from mim_tf.data.chosen_rows import pack, unpack

LISTS = pa.array([[1, 5, 2**40], None, [], [7]], pa.list_(pa.int64()))


def test_rows_become_little_endian_integers() -> None:
    expected = [struct.pack("<3q", 1, 5, 2**40), b"", b"", struct.pack("<q", 7)]
    assert pack(LISTS).to_pylist() == expected
    assert pack(LISTS.slice(1, 3)).to_pylist() == expected[1:]
    assert pack(LISTS.slice(1, 1)).to_pylist() == [b""]


def test_all_rows_come_back_with_their_counts() -> None:
    rows, lengths = unpack(pack(LISTS).to_pylist())
    np.testing.assert_array_equal(rows, [1, 5, 2**40, 7])
    np.testing.assert_array_equal(lengths, [3, 0, 0, 1])
    rows, lengths = unpack([b"", b""])
    assert rows.dtype == np.int64
    assert (list(rows), list(lengths)) == ([], [0, 0])
