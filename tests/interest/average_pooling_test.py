import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest import AveragePooling

pytestmark = pytest.mark.both_kerases


def test_it_is_the_mean_of_the_real_behaviours() -> None:
    history = [[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, -1.0], [100.0, 100.0], [100.0, 100.0]]]
    mask = [[True, True, False], [True, False, False]]
    # Row 0: ((1, 2) + (3, 6)) / 2; row 1: its only behaviour.
    expected = [[2.0, 4.0], [5.0, -1.0]]
    output = AveragePooling()(tf.zeros([2, 2]), tf.constant(history), mask=tf.constant(mask))
    np.testing.assert_allclose(output, expected)


def test_all_candidates_have_the_one_mean() -> None:
    history, mask = tf.constant([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]]), tf.constant([[True, True, False]])
    output = AveragePooling()(tf.zeros([1, 3, 2]), history, mask=mask)
    np.testing.assert_allclose(output, [[[2.0, 4.0], [2.0, 4.0], [2.0, 4.0]]])


def test_the_target_does_not_matter() -> None:
    history = tf.random.normal([3, 4, 2])
    layer = AveragePooling()
    np.testing.assert_array_equal(layer(tf.zeros([3, 2]), history), layer(tf.fill([3, 2], 9.0), history))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_history_of_ten_thousand_keeps_the_mean_in_half_precision(policy: str) -> None:
    # Their sum, 200,000, is past float16's largest number, and the running sum past its precision from 2,048 on.
    history = tf.fill([1, 10_000, 1], 20.0)
    np.testing.assert_array_equal(AveragePooling(dtype=policy)(tf.zeros([1, 1]), history), [[20.0]])
