"""Rows in half precision and in 8 bits, against NumPy."""

import numpy as np

from mim_tf.representation.row_precision import cosine_errors, dequantise, quantise

ROWS = np.random.default_rng(0).normal(size=(500, 64)) * np.geomspace(1e-3, 1e3, 500)[:, np.newaxis]


def test_a_component_is_off_by_half_a_step_at_most() -> None:
    rows, scales = quantise(ROWS.astype(np.float32))
    steps = np.abs(ROWS).max(axis=1) / 127
    np.testing.assert_allclose(scales, steps, rtol=1e-6)
    assert np.abs(rows.numpy()).max(axis=1).tolist() == [127] * 500
    assert (np.abs(rows.numpy() * steps[:, np.newaxis] - ROWS) <= 0.5001 * steps[:, np.newaxis]).all()


def test_rows_of_zeros_stay() -> None:
    np.testing.assert_array_equal(dequantise(*quantise(np.zeros([2, 3], np.float32))), np.zeros([2, 3]))


def test_cosine_errors_equal_numpys() -> None:
    rows = ROWS[200:300]  # where half precision has all its bits
    steps = np.abs(rows).max(axis=1, keepdims=True) / 127
    for dtype, kept in {"float16": rows.astype(np.float16), "int8": np.round(rows / steps)}.items():
        kept = kept.astype(np.float64)
        cosines = (rows * kept).sum(axis=1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(kept, axis=1)
        # the row that is given back is in half precision, too: a few per cent of the error in 8 bits
        np.testing.assert_allclose(cosine_errors(rows, dtype), 1 - cosines, rtol=5e-2, atol=1e-7)
