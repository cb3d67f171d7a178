"""Gains by group, against scikit-learn's AUCs and a bootstrap written out."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mim_tf.metrics import gain_by_group

USERS = np.repeat(np.arange(60), 10)
GROUPS = np.tile([b"new", b"old"], 300)
RNG = np.random.default_rng(0)
LABELS = (RNG.uniform(size=600) < 0.3).astype(int)
BASE = RNG.uniform(size=600)
MODEL = np.where(GROUPS == b"new", 0.6 * LABELS + 0.4 * BASE, BASE)  # better on what is new, the same on what is old


def test_estimates_are_differences_of_aucs_within_the_group() -> None:
    gains = gain_by_group(LABELS, MODEL, BASE, USERS, GROUPS, resamples=50)
    assert list(gains) == [b"new", b"old"]
    new = GROUPS == b"new"
    assert gains[b"new"].estimate == pytest.approx(
        roc_auc_score(LABELS[new], MODEL[new]) - roc_auc_score(LABELS[new], BASE[new])
    )
    assert gains[b"new"].lower > 0
    assert gains[b"old"] == (0, 0, 0)


def test_the_interval_is_that_of_resampled_users() -> None:
    gain = gain_by_group(LABELS, MODEL, BASE, USERS, GROUPS, resamples=400)[b"new"]
    rng, differences = np.random.default_rng(1), []
    rows_of = [np.flatnonzero((user == USERS) & (GROUPS == b"new")) for user in range(60)]
    for _ in range(400):
        rows = np.concatenate([rows_of[user] for user in rng.integers(60, size=60)])
        aucs = [roc_auc_score(LABELS[rows], scores[rows]) for scores in (MODEL, BASE)]
        differences.append(aucs[0] - aucs[1])
    # Both ends are of 400 draws: their own standard error is about a sixth of the interval's half width.
    assert (gain.lower, gain.upper) == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.02)


def test_what_cannot_be_measured_is_left_out() -> None:
    groups = np.array(["one class"] * 100 + ["one user"] * 10 + ["few"] * 20 + ["rest"] * 470)
    labels = np.where(groups == "one class", 0, LABELS)
    gains = gain_by_group(labels, MODEL, BASE, USERS, groups, min_impressions=10, resamples=20)
    assert list(gains) == ["few", "rest"]
    assert list(gain_by_group(labels, MODEL, BASE, USERS, groups, resamples=20)) == ["rest"]


def test_wrong_arguments_are_no_group_that_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match=r"`resamples` must be at least 1\. Received: 0\."):
        gain_by_group(LABELS, MODEL, BASE, USERS, GROUPS, resamples=0)
    with pytest.raises(ValueError, match="`groups` must have the shape of `labels`"):
        gain_by_group(LABELS, MODEL, BASE, USERS, GROUPS[:5])
    with pytest.raises(ValueError, match=r"`base_probabilities` must be in \[0, 1\]"):
        gain_by_group(LABELS, MODEL, BASE + 2, USERS, GROUPS)
