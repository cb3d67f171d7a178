import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest.cross_features import category_flags, time_gap_features
from mim_tf.interest.time_gap_embedding import TimeGapEmbedding

pytestmark = pytest.mark.both_kerases
TARGET, CANDIDATES, HISTORY = tf.ones([2, 4]), tf.ones([2, 5, 4]), tf.ones([2, 3, 4])


def numbered() -> TimeGapEmbedding:
    """An embedding whose every row is the number of its bucket."""
    layer = TimeGapEmbedding(2)
    layer.build((None, None))
    layer.set_weights([np.repeat(np.arange(32.0)[:, np.newaxis], 2, axis=1)])
    return layer


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_gaps_become_their_buckets_rows(dtype: str) -> None:
    # 0 s; 2^0 to 2^1 s; 2^6 to 2^7 s; 2^16 to 2^17 s (a day)
    gaps = np.array([[0, 1, 100], [86_400, 2, 3]], dtype)
    output = time_gap_features(gaps, numbered(), HISTORY)
    np.testing.assert_array_equal(output[..., 0], [[0, 1, 7], [17, 2, 2]])
    assert output.shape == (2, 3, 2)


def test_padding_gives_finite_rows() -> None:
    gaps = np.array([[np.nan, np.inf, -np.inf], [-1e30, 1e30, -1.0]], np.float32)
    assert np.isfinite(time_gap_features(gaps, numbered(), HISTORY)).all()


def test_without_gaps_the_rows_are_zero() -> None:
    np.testing.assert_array_equal(time_gap_features(None, numbered(), HISTORY), np.zeros((2, 3, 2)))


def test_the_dtype_is_that_of_the_history() -> None:
    gaps = np.ones((2, 3), np.float32)
    for given in (gaps, None):
        assert time_gap_features(given, numbered(), tf.cast(HISTORY, tf.float64)).dtype == tf.float64


def test_gaps_of_another_shape() -> None:
    message = (
        r"`time_gaps` must have the shape of the history without its last axis, \(2, 3\). Received: shape \(2, 4\)"
    )
    with pytest.raises(ValueError, match=message):
        time_gap_features(np.ones((2, 4), np.float32), numbered(), HISTORY)


def test_categories_that_are_not_boolean() -> None:
    with pytest.raises(TypeError, match=r"`same_category` must be boolean. Received: dtype int64"):
        category_flags(np.ones((2, 3), np.int64), TARGET, HISTORY)


def test_flags_of_a_single_target_are_those_of_a_candidate_alone() -> None:
    flags = np.array([[True, False, True], [False, False, True]])
    np.testing.assert_array_equal(category_flags(flags, TARGET, HISTORY), flags[:, np.newaxis])
    np.testing.assert_array_equal(
        category_flags(flags[:, np.newaxis], CANDIDATES[:, :1], HISTORY), flags[:, np.newaxis]
    )


@pytest.mark.parametrize(
    ("candidates", "shape", "message"),
    [
        (False, (3, 3), r"\[batch, length\], \(2, 3\). Received: shape \(3, 3\)"),
        (False, (2, 5, 3), r"\[batch, length\], \(2, 3\). Received: shape \(2, 5, 3\)"),
        (True, (2, 3), r"\[batch, candidates, length\], \(2, 5, 3\). Received: shape \(2, 3\)"),
        (True, (2, 4, 3), r"\[batch, candidates, length\], \(2, 5, 3\). Received: shape \(2, 4, 3\)"),
    ],
)
def test_categories_of_another_shape(candidates: bool, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match="`same_category` must have the shape " + message):
        category_flags(np.ones(shape, bool), CANDIDATES if candidates else TARGET, HISTORY)
