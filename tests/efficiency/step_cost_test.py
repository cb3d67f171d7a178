"""How much dearer a version is."""

import pytest

from mim_tf.efficiency.step_cost import StepCost


def test_the_papers_changes() -> None:
    """Table 6: 0.182 GFLOPs against 0.114 are +0.59 (rounded down), 1.11 GB against 1.1 are +0.01."""
    base, mim = StepCost(0.114, 2.0, 1.1, 1.0), StepCost(0.182, 3.0, 1.11, 1.0)
    assert mim.change_from(base) == pytest.approx((0.596, 0.5, 0.009, 0.0), abs=1e-3)
    assert base.change_from(base) == (0.0, 0.0, 0.0, 0.0)
