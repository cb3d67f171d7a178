"""Groups compared with a base, against scikit-learn, and slices in which a loss was planted."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mim_tf.metrics import Interval
from mim_tf.report.predictions import ComparedGroup, Predictions, compared_groups, kind_of_interval
from mim_tf.report.slices import groups_by_number, slices_section
from mim_tf.training.scoring import Scored

IMPRESSIONS = 4000
WORLD = np.random.default_rng(0)
LABELS = (WORLD.random(IMPRESSIONS) < 0.3).astype(np.int64)
USERS = WORLD.integers(200, size=IMPRESSIONS)
CATEGORIES = np.array([b"shirt", b"mug", b"rare"], object)[
    np.where(WORLD.random(IMPRESSIONS) < 0.01, 2, WORLD.integers(2, size=IMPRESSIONS))
]


def scored(skill: np.ndarray | float, seed: int) -> Scored:
    logits = skill * (2 * LABELS - 1) + np.random.default_rng(seed).normal(size=IMPRESSIONS) - 0.8
    numbers = np.arange(IMPRESSIONS)
    return Scored(LABELS, USERS, numbers, numbers, CATEGORIES, numbers, (1 / (1 + np.exp(-logits))).astype(np.float32))


def test_gains_are_differences_of_mean_aucs() -> None:
    model, base = [scored(0.6, seed) for seed in range(3)], [scored(0.3, seed + 9) for seed in range(3)]
    found = compared_groups(Predictions(model, base), CATEGORIES)
    assert list(found) == [b"mug", b"shirt"]  # some forty rare impressions tell too little
    rows = CATEGORIES == b"mug"
    aucs, base_aucs = ([roc_auc_score(LABELS[rows], one.probabilities[rows]) for one in of] for of in (model, base))
    group = found[b"mug"]
    assert group[:2] == (rows.sum(), pytest.approx(LABELS[rows].mean()))
    assert group[2:4] == pytest.approx((np.mean(aucs), np.mean(base_aucs)))
    gains = np.subtract(aucs, base_aucs)
    half = 4.3027 * gains.std(ddof=1) / np.sqrt(3)  # Student's t for two degrees of freedom
    assert group.gain == pytest.approx((gains.mean(), gains.mean() - half, gains.mean() + half), abs=1e-5)


def test_one_seed_has_intervals_over_users() -> None:
    predictions = Predictions([scored(0.6, 1)], [scored(0.3, 2)])
    gain = compared_groups(predictions, CATEGORIES)[b"mug"].gain
    assert gain.lower < gain.estimate < gain.upper
    assert "over users (bootstrap, 1000 resamples), of the one seed" in kind_of_interval(predictions)


def test_large_logs_have_fewer_resamples() -> None:
    few = scored(0.6, 1)
    for impressions, resamples in ((4000, 1000), (400_000, 500), (4_000_000, 200)):
        large = few._replace(labels=np.broadcast_to(0, impressions))
        assert Predictions([large], []).resamples == resamples


def test_nothing_measurable_is_no_group() -> None:
    assert compared_groups(Predictions([scored(1, 1)], [scored(0, 2)]), np.arange(IMPRESSIONS)) == {}


def test_numbers_are_cut_into_ranges_of_equal_mass() -> None:
    numbers = np.repeat([0, 3, 4, 90, 1000], IMPRESSIONS // 5)
    found = groups_by_number(Predictions([scored(0.6, 1)], [scored(0.3, 2)]), numbers)
    assert list(found) == ["0", "3", "4", "90", "1,000"]
    found = groups_by_number(Predictions([scored(0.6, 1)], [scored(0.3, 2)]), np.arange(IMPRESSIONS))
    assert list(found) == ["0 to 799", "800 to 1,599", "1,600 to 2,399", "2,400 to 3,199", "3,200 to 3,999"]


def test_a_planted_loss_is_found_first_and_marked() -> None:
    skill = np.where(CATEGORIES == b"mug", 0.0, 0.9)
    predictions = Predictions([scored(skill, 1)], [scored(0.5, 2)])
    cuts = {"category": {str(name): group for name, group in compared_groups(predictions, CATEGORIES).items()}}
    text = "".join(slices_section(predictions, cuts).content)
    assert "MIM loses in 1 of 2 slices, marked below" in text
    assert "Of as many intervals some 0.1 lie below 0 by chance" in text  # 2.5% of 2
    marked, other = text.split("<tbody>")[1].split("</tr>")[:2]
    assert marked.startswith('<tr class="marked"><th scope="row">category: b&#x27;mug&#x27;</th>')
    assert other.startswith('<tr><th scope="row">category: b&#x27;shirt&#x27;</th>')


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ([(0.1, 0.05, 0.15)], "MIM loses in none of 1 slices: its AUC is higher in all of them."),
        ([(0.1, 0.05, 0.15), (-0.1, -0.3, 0.1)], "MIM loses in none of 2 slices: in 1 its AUC is lower, but"),
        ([(0.1, 0.05, 0.15), (-0.1, -0.3, -0.01)], "MIM loses in 1 of 2 slices, marked below"),
        ([], "No slice has enough impressions and clicks to be measured."),
    ],
)
def test_it_is_said_whether_the_model_loses(gains: list[tuple[float, float, float]], said: str) -> None:
    groups = {str(number): ComparedGroup(100, 0.2, 0.6, 0.5, Interval(*gain)) for number, gain in enumerate(gains)}
    predictions = Predictions([scored(0.6, 1)], [scored(0.3, 2)])
    assert said in "".join(slices_section(predictions, {"cut": groups}).content)
