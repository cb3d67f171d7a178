"""Comparisons of versions, against scikit-learn, SciPy and Holm's rule."""

import numpy as np
import pytest
from scipy.stats import t, ttest_rel
from sklearn.metrics import roc_auc_score

from mim_tf.errors import DataError
from mim_tf.experiment.comparisons import comparison_sheet
from mim_tf.experiment.measured import Outcome, gain_of, gain_over_users, mean_of
from mim_tf.experiment.sheet import Number
from tests.experiment.toy_scores import scored


def outcome(name: str, skill: float, seeds: list[int], missing: str | None = None) -> Outcome:
    found = {seed: scored(skill, seed + round(1000 * skill)) for seed in seeds}
    retrieval = {seed: {"held_out_recall_at_10": 0.1 * seed, "held_out_mrr": 0.2} for seed in seeds}
    return Outcome(name, found, retrieval, missing)


def aucs(outcome: Outcome) -> np.ndarray:
    return np.array([roc_auc_score(each.labels, each.probabilities) for each in outcome.scored.values()])


def half_width(values: np.ndarray) -> float:
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def test_a_version_beside_its_reference() -> None:
    base, better, same = outcome("Base", 0.3, [0, 1, 2]), outcome("v1", 0.5, [0, 1, 2]), outcome("v2", 0.301, [0, 1, 2])
    sheet = comparison_sheet("t", "T", base, [better, same], {"Base": ".7", "v1": ".8"})
    assert [name for name, _ in sheet.rows] == ["Base", "v1", "v2"]
    rows = dict(sheet.rows)
    shown = rows["v1"]["AUC"]
    assert isinstance(shown, Number)
    assert shown.interval.estimate == pytest.approx(aucs(better).mean())
    assert shown.interval.upper == pytest.approx(aucs(better).mean() + half_width(aucs(better)))

    gain, other = rows["v1"]["Δ"], rows["v2"]["Δ"]
    assert isinstance(gain, Number)
    assert isinstance(other, Number)
    differences = aucs(better) - aucs(base)
    assert gain.interval.lower == pytest.approx(differences.mean() - half_width(differences))
    # Two tests: the smaller p-value counts twice, the larger once.
    p_values = [ttest_rel(aucs(version), aucs(base)).pvalue for version in (better, same)]
    assert p_values[0] < p_values[1]
    assert gain.p == pytest.approx(2 * p_values[0])
    assert other.p == pytest.approx(max(2 * p_values[0], p_values[1]))

    first = roc_auc_score(better.scored[0].labels, better.scored[0].probabilities)
    over_users = rows["v1"]["Δ over users"]
    assert isinstance(over_users, Number)
    assert over_users.interval.estimate == pytest.approx(first - aucs(base)[0])
    assert str(rows["v1"]["R@10"]) == f"0.1000 ± {half_width(np.array([0, 0.1, 0.2])):.4f}"
    assert rows["v1"]["AUC, paper"] == ".8"
    assert rows["v2"]["AUC, paper"] is None
    assert "Δ" not in rows["Base"]
    # Both versions find as much as Base with each seed, so there is nothing to test.
    assert str(rows["v1"]["Δ MRR"]) == "+0.0000 ± 0.0000"
    assert sheet.notes[0].startswith("Means of 3 seeds")


def test_different_impressions_are_not_compared() -> None:
    mine, other = outcome("v", 0.5, [0]), outcome("Base", 0.3, [0])
    items = other.scored[0].items[::-1]
    changed = other._replace(scored={0: other.scored[0]._replace(items=items)})
    with pytest.raises(DataError, match="were measured on different impressions: the shop's files have changed"):
        gain_over_users(mine, changed)


def test_only_seeds_of_both_are_compared() -> None:
    mine, others = outcome("v", 0.5, [0, 2, 3], "1 of 4 seeds is missing"), outcome("Base", 0.3, [0, 1, 2])
    gain = gain_of(mine.aucs, others.aucs)
    assert gain is not None
    assert gain.interval.estimate == pytest.approx((aucs(mine)[[0, 1]] - aucs(others)[[0, 2]]).mean())
    assert gain_of(mine.aucs, {}) is None
    assert mean_of({}) is None
    sheet = comparison_sheet("t", "T", others, [mine], None)
    assert "v: 1 of 4 seeds is missing." in sheet.notes
    assert "AUC, paper" not in sheet.columns


def test_what_is_not_there_says_why() -> None:
    nothing = Outcome("Base", {}, {}, "prepare: no timestamps")
    sheet = comparison_sheet("t", "T", nothing, [nothing._replace(name="v1")], {"Base": ".7", "v1": ".8"})
    assert sheet.columns == ("AUC, paper",)
    assert sheet.notes == ("Base; v1: prepare: no timestamps.",)


def test_one_seed_has_no_interval_and_no_test() -> None:
    sheet = comparison_sheet("t", "T", outcome("Base", 0.3, [0]), [outcome("v", 0.5, [0])], None)
    _, values = sheet.rows[1]
    assert "±" not in str(values["Δ"])
    assert " to " in str(values["Δ over users"])  # other users, other numbers
    assert sheet.notes[0].startswith("Of one seed")
    assert "p" not in sheet.columns
