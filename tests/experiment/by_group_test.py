"""Gains by category and by age, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mim_tf.experiment.by_group import figure6, table2, table7
from mim_tf.experiment.measured import Outcome
from mim_tf.experiment.sheet import Number
from mim_tf.training.scoring import Scored
from tests.experiment.toy_scores import IMPRESSIONS, scored

SEEDS = (0, 1, 2)


def outcome(name: str, skill: float, **options: object) -> Outcome:
    return Outcome(name, {seed: scored(skill, seed, **options) for seed in SEEDS}, {})  # type: ignore[arg-type]


def auc_within(each: Scored, chosen: np.ndarray) -> float:
    return float(roc_auc_score(each.labels[chosen], each.probabilities[chosen]))


def estimate(value: object) -> float:
    assert isinstance(value, Number)
    return value.interval.estimate


def test_gains_by_category() -> None:
    mim, base = outcome("MIM", 0.8), outcome("Base", 0.2)
    sheet = table7(mim, base)
    assert [name for name, _ in sheet.rows] == [
        "ALL",
        "shirt",
        "mug",
    ]  # largest gain first; twenty rare ones tell nothing
    for name, values in sheet.rows[1:]:
        chosen = mim.scored[0].categories == name.encode()
        assert values["impressions"] == chosen.sum()
        pairs = [(auc_within(mim.scored[seed], chosen), auc_within(base.scored[seed], chosen)) for seed in SEEDS]
        assert estimate(values["Base+MIM"]) == pytest.approx(np.mean([mine for mine, _ in pairs]))
        assert estimate(values["Δ"]) == pytest.approx(np.mean([mine - other for mine, other in pairs]))


def test_one_category_says_so() -> None:
    options = {"categories": ("shirt",), "rare": 0}
    sheet = table7(outcome("MIM", 0.8, **options), outcome("Base", 0.2, **options))
    assert sheet.rows == []
    assert sheet.notes[0].startswith("Empty: there are no two categories")
    models = {"DIN": (outcome("Base", 0.2, **options), outcome("Base+MIM", 0.8, **options))}
    assert "There is one category only, so its column says what ALL says." in table2(models).notes


def test_gains_by_age() -> None:
    mim, base = outcome("MIM", 0.8), outcome("Base", 0.2)
    sheet = figure6(mim, base)
    assert [name for name, _ in sheet.rows] == [f"S{number}" for number in range(1, 11)]
    assert sheet.notes[0].startswith("Means of 3 seeds")
    for number, (_, values) in enumerate(sheet.rows):
        first = number * IMPRESSIONS // 10
        chosen = (mim.scored[0].ages >= first) & (mim.scored[0].ages < first + IMPRESSIONS // 10)
        assert values["impressions"] == IMPRESSIONS // 10
        assert estimate(values["Base"]) == pytest.approx(np.mean([auc_within(base.scored[s], chosen) for s in SEEDS]))


def test_the_six_models_table() -> None:
    models = {name: (outcome("Base", 0.2), outcome("Base+MIM", skill)) for name, skill in (("DIN", 0.8), ("BST", 0.2))}
    sheet = table2(models)
    assert sheet.columns == ("ALL", "shirt", "mug") or sheet.columns == ("ALL", "mug", "shirt")
    assert [name for name, _ in sheet.rows] == [
        f"{model}, {row}" for model in models for row in ("Base", "Base+MIM", "Δ")
    ]
    rows = dict(sheet.rows)
    assert str(rows["DIN, Δ"]["ALL"]).endswith(" *")
    assert str(rows["BST, Δ"]["ALL"]) == "+0.0000 ± 0.0000"
    assert sheet.notes[0].startswith("Means of 3 seeds")


def test_nothing_to_show_says_why() -> None:
    nothing = Outcome("MIM", {}, {}, "prepare: no timestamps")
    assert table7(nothing, nothing).notes == ("Empty: prepare: no timestamps.",)
    assert figure6(nothing, nothing).notes == ("Empty: prepare: no timestamps.",)
    sheet = table2({"DIN": (nothing, nothing)})
    assert "DIN: prepare: no timestamps." in sheet.notes
