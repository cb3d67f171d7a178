"""The paired test against SciPy's, and Holm's correction by hand."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mim_tf.metrics import holm, paired_p_value


@pytest.mark.parametrize("seeds", [2, 3, 5, 30])
def test_the_paired_test_is_scipys(seeds: int) -> None:
    values, base = np.random.default_rng(seeds).normal(0.6, 0.01, [2, seeds])
    assert paired_p_value(values, base) == pytest.approx(ttest_rel(values, base).pvalue, rel=1e-9)
    assert paired_p_value(values, base) == pytest.approx(paired_p_value(base, values), rel=1e-12)


def test_differences_without_spread() -> None:
    assert np.isnan(paired_p_value([0.6], [0.5]))
    assert np.isnan(paired_p_value([0.5, 0.75], [0.25, 0.5]))
    assert paired_p_value([0.6, 0.7], [0.6, 0.7]) == 1


@pytest.mark.parametrize(("values", "base"), [([], []), ([0.6, 0.7], [0.6])])
def test_unequal_seeds_are_refused(values: list[float], base: list[float]) -> None:
    with pytest.raises(ValueError, match="must be of the same seeds, one at least"):
        paired_p_value(values, base)


def test_holms_correction() -> None:
    # Sorted .01 .02 .02 .5 times 4 3 2 1 is .04 .06 .04 .5, and no later one is below an earlier one.
    np.testing.assert_allclose(holm([0.5, 0.02, 0.01, 0.02]), [0.5, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.4, 0.3, 0.2]), [0.6, 0.6, 0.6])  # .2 * 3, .3 * 2, then .4 lifted to them
    np.testing.assert_allclose(holm([0.7, 0.9]), [1, 1])
    np.testing.assert_array_equal(holm([float("nan"), 0.02]), [np.nan, 0.02])
    assert holm([]) == []
