import numpy as np
import pytest

from mim_tf.metrics import age_groups


@pytest.mark.parametrize("impressions", [10, 100, 12_000, 997, 1_003, 9, 3, 1])
def test_without_ties_the_sizes_differ_by_at_most_one(impressions: int) -> None:
    groups = age_groups(np.random.default_rng(0).permutation(impressions))
    sizes = np.bincount(groups - 1, minlength=10)
    assert sizes.size == 10
    assert sizes.sum() == impressions
    assert sizes.max() - sizes.min() <= 1


def test_the_newest_are_the_first_group() -> None:
    ages = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(age_groups(ages), ages // 10 + 1)


def test_ties_by_hand() -> None:
    # Twenty impressions, ten groups of two. Of twelve with age 0, half are below place 6, where S4 begins; of five with
    # age 7, half are below place 14.5, within S8; of three with age 9, half are below place 18.5, within S10.
    ages = np.repeat([0, 7, 9], [12, 5, 3])
    np.testing.assert_array_equal(age_groups(ages), np.repeat([4, 8, 10], [12, 5, 3]))


def test_all_of_one_age_are_in_the_middle() -> None:
    np.testing.assert_array_equal(age_groups([3.0] * 7), [6] * 7)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_heavy_ties_in_any_row_order(dtype: type[np.number]) -> None:
    rng = np.random.default_rng(0)
    ages = np.minimum(rng.zipf(1.5, 2000), 200).astype(dtype)
    groups = age_groups(ages)
    order = rng.permutation(2000)
    np.testing.assert_array_equal(age_groups(ages[order]), groups[order])
    of_age = [set(groups[ages == age]) for age in np.unique(ages)]
    assert all(len(found) == 1 for found in of_age)
    in_order_of_age = [found.pop() for found in of_age]
    assert in_order_of_age == sorted(in_order_of_age)


def test_ages_that_floats_cannot_tell_apart() -> None:
    np.testing.assert_array_equal(age_groups([2**60 + 1, 2**60], groups=2), [2, 1])


def test_negative_and_infinite_ages_are_ordered() -> None:
    np.testing.assert_array_equal(age_groups([np.inf, -5.0, 0.0, 1.0], groups=4), [4, 1, 2, 3])


@pytest.mark.parametrize(
    ("ages", "groups", "error", "message"),
    [
        ([], 10, ValueError, r"`ages` must be one-dimensional and not empty. Received: shape \(0,\)"),
        ([[1, 2]], 10, ValueError, r"`ages` must be one-dimensional and not empty. Received: shape \(1, 2\)"),
        ([1.0, np.nan, np.nan], 10, ValueError, "`ages` must not be NaN. Received: 2 NaN of 3"),
        (["new", "old"], 10, TypeError, "`ages` must be numbers, .* Received: dtype <U3"),
        (np.array([1, 2], "timedelta64[s]"), 10, TypeError, "`ages` must be numbers, .* Received: dtype timedelta64"),
        ([1, 2], 0, ValueError, "`groups` must be at least 1. Received: 0"),
    ],
)
def test_bad_input(ages: object, groups: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        age_groups(ages, groups)
