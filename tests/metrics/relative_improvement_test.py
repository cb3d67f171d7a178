import numpy as np
import pytest

from mim_tf.metrics import relative_improvement


@pytest.mark.parametrize(
    ("auc", "base_auc", "expected"),
    [
        # Zhou et al. 2018, table 3, Amazon: DIN with Dice 0.8871 over BaseModel 0.8624 is given as 6.82%.
        (0.8871, 0.8624, 0.0682),
        # The same table, MovieLens: LR 0.7263 over BaseModel 0.7300 is given as -1.61%.
        (0.7263, 0.7300, -0.0161),
        (0.5, 0.7, -1.0),
        (0.3, 0.7, -2.0),
        (0.7, 0.7, 0.0),
        (1.0, 0.75, 1.0),
    ],
)
def test_by_hand(auc: float, base_auc: float, expected: float) -> None:
    assert relative_improvement(auc, base_auc) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("base_auc", [0.5, 0.42, np.nan, 1.2])
def test_a_base_without_meaning(base_auc: float) -> None:
    with pytest.raises(ValueError, match=f"`base_auc` must be above 0.5 and at most 1: .* Received: {base_auc}"):
        relative_improvement(0.7, base_auc)


@pytest.mark.parametrize("auc", [-0.1, 1.2, np.nan])
def test_no_auc(auc: float) -> None:
    with pytest.raises(ValueError, match=rf"`auc` must be in \[0, 1\]. Received: {auc}"):
        relative_improvement(auc, 0.7)
