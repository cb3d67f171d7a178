"""The tables of `mim_tf.evaluate`, against scikit-learn and a count by hand."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from mim_tf.training.ranking_report import ranking_report
from mim_tf.training.scoring import Scored

IMPRESSIONS = 4000


def scored(skill: float, seed: int) -> Scored:
    """Impressions that do not depend on the seed, scored with more or less skill."""
    world, noise = np.random.default_rng(0), np.random.default_rng(seed + 1)
    labels = (world.random(IMPRESSIONS) < 0.3).astype(np.int64)
    users = world.integers(200, size=IMPRESSIONS)
    categories = np.array([b"shirt", b"mug", b"rare"], object)[
        np.where(world.random(IMPRESSIONS) < 0.01, 2, world.integers(2, size=IMPRESSIONS))
    ]
    ages = world.permutation(IMPRESSIONS)
    logits = skill * (2 * labels - 1) + noise.normal(size=IMPRESSIONS) - 0.8
    items, timestamps = world.integers(50, size=IMPRESSIONS), np.arange(IMPRESSIONS)
    probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return Scored(labels, users, items, timestamps, categories, ages, probabilities)


def rows(table: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}


def test_the_tables() -> None:
    model, base = [scored(0.6, seed) for seed in range(3)], [scored(0.3, seed) for seed in range(3)]
    overall, over_users, by_category, by_age = ranking_report(model, base).split("\n\n")

    assert overall.splitlines()[0].startswith("mean of 3 seeds")
    aucs = np.array([[roc_auc_score(each.labels, each.probabilities) for each in models] for models in (model, base)])
    cells = rows(overall)
    assert cells["model"][0] == f"{aucs[0].mean():.4f}"
    assert cells["base"][0] == f"{aucs[1].mean():.4f}"
    assert cells["gain"][0] == f"{(aucs[0] - aucs[1]).mean():+.4f}"
    # Student's t for two degrees of freedom is 4.3027.
    assert cells["gain"][1] == f"±{4.3027 * (aucs[0] - aucs[1]).std(ddof=1) / np.sqrt(3):.4f}"
    improvement = (aucs[0].mean() - 0.5) / (aucs[1].mean() - 0.5) - 1
    assert f"{improvement:+.1%}" in overall

    first = model[0]
    assert rows(over_users)["model"][2] == f"{log_loss(first.labels, first.probabilities):.4f}"

    assert set(rows(by_category)) == {"shirt", "mug"}  # about forty rare impressions tell too little
    shirts = first.categories == b"shirt"
    assert rows(by_category)["shirt"][0] == f"{shirts.sum():,}"
    of_shirts = [roc_auc_score(each.labels[shirts], each.probabilities[shirts]) for each in model]
    assert rows(by_category)["shirt"][2] == f"{np.mean(of_shirts):.4f}"

    assert list(rows(by_age)) == [f"S{group}" for group in range(1, 11)]
    newest = first.ages < IMPRESSIONS // 10
    assert rows(by_age)["S1"][1] == f"{first.labels[newest].mean():.3f}"


def test_one_seed_has_no_interval_over_seeds() -> None:
    overall, *_ = ranking_report([scored(0.6, 0)], [scored(0.3, 0)]).split("\n\n")
    assert overall.splitlines()[0].startswith("one seed")
    assert "±" not in overall


def test_a_model_without_a_base_is_told_of_alone() -> None:
    model = [scored(0.6, seed) for seed in range(3)]
    with_base, alone = (ranking_report(model, base).split("\n\n") for base in (model, []))
    for theirs, ours in zip(with_base, alone, strict=True):
        assert "base" not in ours
        assert "gain" not in ours
        width = min(len(line) for line in ours.splitlines())
        expected = [line[:width] for line in theirs.splitlines()]
        assert [line[:width] for line in ours.splitlines()] == [line for line in expected if line in ours]


def test_a_single_class_cannot_be_measured() -> None:
    nobody = scored(0.6, 0)._replace(labels=np.zeros(IMPRESSIONS, np.int64))
    with pytest.raises(ValueError, match="`labels` must hold both 0 and 1"):
        ranking_report([nobody], [nobody])


def test_groups_that_are_too_small_are_told_of() -> None:
    few = Scored(*(column[:100] for column in scored(0.6, 0)))
    *_, by_age = ranking_report([few], [few]).split("\n\n")
    assert by_age.startswith("item age, S1 newest: `groups` must hold one with both a 0 and a 1 and at least 50")
