import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest.selection import highest, latest

pytestmark = pytest.mark.both_kerases
T, F = True, False


def test_latest_by_hand() -> None:
    mask = tf.constant([[T, F, T, T, F], [F, F, F, F, F], [F, T, F, F, F]])
    np.testing.assert_array_equal(latest(mask, 2), [[F, F, T, T, F], [F, F, F, F, F], [F, T, F, F, F]])


@pytest.mark.parametrize("length", [0, 1, 7, 300])
@pytest.mark.parametrize("count", [1, 7, 50])
def test_latest_against_a_loop(length: int, count: int) -> None:
    mask = np.random.default_rng(1).random((6, length)) < 0.6
    expected = np.zeros_like(mask)
    for row, places in enumerate(mask):
        expected[row, np.flatnonzero(places)[-count:]] = True
    np.testing.assert_array_equal(latest(tf.constant(mask), count), expected)


def test_highest_by_hand() -> None:
    scores = tf.constant([[1.0, 5.0, 3.0, 9.0], [1.0, 5.0, 3.0, 9.0], [-4.0, -1.0, -2.0, -3.0]])
    mask = tf.constant([[T, T, T, F], [F, F, T, F], [T, T, T, T]])
    np.testing.assert_array_equal(highest(scores, mask, 2), [[F, T, T, F], [F, F, T, F], [F, T, T, F]])


def test_ties_at_the_threshold_all_stay() -> None:
    scores = tf.constant([[2.0, 1.0, 2.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    mask = tf.constant([[T, T, T, T, T], [T, T, F, T, T]])
    np.testing.assert_array_equal(highest(scores, mask, 2), [[T, F, T, T, T], [T, T, F, T, T]])


@pytest.mark.parametrize("known", [True, False], ids=["length known", "length unknown"])
@pytest.mark.parametrize("xla", [False, True], ids=["", "xla"])
@pytest.mark.parametrize("length", [0, 1, 7, 300])
def test_highest_against_sorting(length: int, xla: bool, known: bool) -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(3, 2, length)).astype(np.float32)
    mask = rng.random((3, 1, length)) < 0.5
    mask[0] = False
    expected = np.zeros(scores.shape, bool)
    for user in range(3):
        for head in range(2):
            real = [i for i in range(length) if mask[user, 0, i]]
            found = sorted(real, key=lambda i, user=user, head=head: -scores[user, head, i])[:7]
            expected[user, head, found] = True
    axis = length if known else None
    signature = [tf.TensorSpec([3, 2, axis]), tf.TensorSpec([3, 1, axis], tf.bool)]
    traced = tf.function(lambda scores, mask: highest(scores, mask, 7), input_signature=signature, jit_compile=xla)
    np.testing.assert_array_equal(traced(scores, mask), expected)


@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf, 100.0])
def test_what_is_padded_does_not_count(padding: float) -> None:
    scores = tf.constant([[padding, 1.0, 3.0, padding, 2.0]])
    mask = tf.constant([[F, T, T, F, T]])
    np.testing.assert_array_equal(highest(scores, mask, 2), [[F, F, T, F, T]])
    np.testing.assert_array_equal(highest(scores, mask, 4), mask)
