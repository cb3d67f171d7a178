from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest.packed_steps import PackedSteps, gather_distinct

pytestmark = pytest.mark.both_kerases
# Two behaviours with a hole between, none, three, one at the end.
MASK = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 1]], bool)


def test_by_hand() -> None:
    # User 2 comes first with three behaviours, then users 0 and 3.
    steps = PackedSteps.of(tf.constant(MASK))
    np.testing.assert_array_equal(steps.bounds, [[0], [3], [5], [6]])
    np.testing.assert_array_equal(steps.users, [2, 0, 3, 2, 0, 2])
    np.testing.assert_array_equal(steps.positions, [0, 0, 3, 1, 2, 3])
    np.testing.assert_array_equal(steps.latest, [[1, 1, 4, 4], [-1, -1, -1, -1], [0, 3, 3, 5], [-1, -1, -1, 2]])
    np.testing.assert_array_equal(steps.last, [4, -1, 5, 2])


def test_there_and_back_by_hand() -> None:
    steps = PackedSteps.of(tf.constant(MASK))
    values = tf.constant([[1, 9, 2, 9], [9, 9, 9, 9], [3, 4, 9, 5], [9, 9, 9, 6]])
    packed = steps.pack(values[..., tf.newaxis])
    np.testing.assert_array_equal(packed[:, 0], [3, 1, 6, 4, 2, 5])
    np.testing.assert_array_equal(steps.pack(values), packed[:, 0])
    unpacked = [[1, 0, 2, 0], [0, 0, 0, 0], [3, 4, 0, 5], [0, 0, 0, 6]]
    np.testing.assert_array_equal(steps.unpack(packed)[..., 0], unpacked)
    passed_on = [[1, 1, 2, 2], [0, 0, 0, 0], [3, 4, 4, 5], [0, 0, 0, 6]]
    np.testing.assert_array_equal(steps.passed_on(packed)[..., 0], passed_on)
    np.testing.assert_array_equal(steps.last_of(packed)[:, 0], [2, 0, 5, 6])
    np.testing.assert_array_equal(steps.last_of(packed[..., tf.newaxis])[:, 0, 0], [2, 0, 5, 6])


@pytest.mark.parametrize(("users", "length"), [(7, 12), (7, 0), (0, 12), (1, 1)])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_each_step_goes_on_with_the_first_users_of_the_one_before(users: int, length: int, share: float) -> None:
    mask = np.random.default_rng(0).uniform(size=(users, length)) < share
    steps = tf.function(PackedSteps.of, input_signature=[tf.TensorSpec([None, None], tf.bool)])(mask)
    found = set(zip(steps.users.numpy(), steps.positions.numpy(), strict=True))
    assert found == set(zip(*np.nonzero(mask), strict=True))
    bounds = steps.bounds[:, 0].numpy()
    assert len(bounds) >= 2
    assert bounds[-1] == mask.sum()
    blocks = [steps.users.numpy()[begin:end] for begin, end in pairwise(bounds)]
    for before, block in pairwise(blocks):
        np.testing.assert_array_equal(block, before[: len(block)])
    for user in range(users):
        positions = steps.positions.numpy()[steps.users.numpy() == user]
        np.testing.assert_array_equal(positions, np.flatnonzero(mask[user]))


@pytest.mark.parametrize("rows", [[4, 0, 2], [], [1, 3, 0, 2, 4]])
def test_gather_distinct_are_those_of_gather_with_its_gradient(rows: list[int]) -> None:
    rng = np.random.default_rng(1)
    values, by_rows = tf.constant(rng.normal(size=(5, 3))), rng.normal(size=(len(rows), 3))
    with tf.GradientTape() as tape:
        tape.watch(values)
        taken = gather_distinct(values, tf.constant(rows, tf.int32))
    np.testing.assert_array_equal(taken, values.numpy()[rows])
    expected = np.zeros((5, 3))
    expected[rows] = by_rows
    np.testing.assert_array_equal(tape.gradient(taken, values, by_rows), expected)
