import time
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from mim_tf.metrics import auc, bootstrap_difference, bootstrap_interval, log_loss
from mim_tf.metrics import bootstrap as module


class Impressions(NamedTuple):
    labels: np.ndarray
    probabilities: np.ndarray
    base: np.ndarray
    users: np.ndarray


def impressions(count: int, users: int, decimals: int = 12) -> Impressions:
    """Two models' predictions, the base a blurred version of the other; few decimals make many ties."""
    rng = np.random.default_rng(count)
    logits = rng.normal(-1, 1, count)
    labels = (rng.uniform(size=count) < 1 / (1 + np.exp(-logits))).astype(int)
    probabilities = (1 / (1 + np.exp(-logits))).round(decimals)
    base = (1 / (1 + np.exp(-logits - rng.normal(0, 0.5, count)))).round(decimals)
    return Impressions(labels, probabilities, base, rng.zipf(1.5, count) % users + 2**53)


def by_resampling(data: Impressions, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each resample's AUC and log loss of both models by scikit-learn, `[resamples, 2]` each."""
    rng = np.random.default_rng(seed)
    names = np.unique(data.users)
    aucs, losses = [], []
    for drawn in rng.integers(names.size, size=(resamples, names.size)):
        weights = sum((data.users == name).astype(int) for name in names[drawn])
        models = data.probabilities, data.base
        aucs.append([roc_auc_score(data.labels, scores, sample_weight=weights) for scores in models])
        losses.append([sklearn_log_loss(data.labels, scores, sample_weight=weights) for scores in models])
    return np.array(aucs), np.array(losses)


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_against_naive_resampling_with_scikit_learn(decimals: int) -> None:
    data = impressions(400, 40, decimals)
    aucs, losses = by_resampling(data, resamples=60, seed=3)
    arguments = {"resamples": 60, "confidence": 0.8, "seed": 3}
    single = bootstrap_interval(data.labels, data.probabilities, data.users, **arguments)
    difference = bootstrap_difference(*data, **arguments)
    for name, values in (("auc", aucs), ("log_loss", losses)):
        expected = np.quantile(values[:, 0], [0.1, 0.9])
        assert single[name][1:] == pytest.approx(expected, abs=1e-12)
        expected = np.quantile(values[:, 0] - values[:, 1], [0.1, 0.9])
        assert difference[name][1:] == pytest.approx(expected, abs=1e-12)


def test_the_estimates_are_the_plain_metrics() -> None:
    data = impressions(500, 50, decimals=2)
    single = bootstrap_interval(data.labels, data.probabilities, data.users, resamples=20)
    difference = bootstrap_difference(*data, resamples=20)
    for name, metric in (("auc", auc), ("log_loss", log_loss)):
        own, base = metric(data.labels, data.probabilities), metric(data.labels, data.base)
        assert single[name].estimate == pytest.approx(own, abs=1e-12)
        assert difference[name].estimate == pytest.approx(own - base, abs=1e-12)


class Coverage(NamedTuple):
    of_auc: float
    of_difference: float


def coverage(users_of: np.ndarray) -> Coverage:
    """How often 95% intervals hold the truth, over 300 logs of 160 users who repeat each impression four times.

    A click's score is normal with mean 1, a non-click's with mean 0, so the AUC is Phi(1 / sqrt(2)) = 0.760; the base
    model's scores have noise of variance 1 on top, so that its AUC is Phi(1 / 2) = 0.691.
    """
    rng = np.random.default_rng(0)
    truth, base_truth = ndtr(1 / np.sqrt(2)), ndtr(0.5)
    held = []
    for seed in range(300):
        labels = rng.integers(0, 2, 160)
        scores = rng.normal(labels, 1)
        columns = [np.repeat(column, 4) for column in (labels, ndtr(scores), ndtr(scores + rng.normal(size=160)))]
        own = bootstrap_interval(*columns[:2], users_of, resamples=200, seed=seed)["auc"]
        difference = bootstrap_difference(*columns, users_of, resamples=200, seed=seed)["auc"]
        held.append([own.lower < truth < own.upper, difference.lower < truth - base_truth < difference.upper])
    return Coverage(*np.mean(held, axis=0))


def test_coverage() -> None:
    covered = coverage(np.repeat(np.arange(160), 4))
    # With 160 users a percentile interval is a little short: it holds the truth in 94% of 1,000 trials. Of 300 trials
    # the standard error is 0.014.
    assert covered.of_auc == pytest.approx(0.94, abs=0.04)
    assert covered.of_difference == pytest.approx(0.94, abs=0.04)


def test_resampling_impressions_instead_of_users_would_not_cover() -> None:
    # A fourth of the variance: half the width, which holds the truth in 67% of the cases.
    covered = coverage(np.arange(640))
    assert covered.of_auc == pytest.approx(0.67, abs=0.1)
    assert covered.of_difference == pytest.approx(0.67, abs=0.1)


def test_pairs_find_what_single_intervals_do_not() -> None:
    data = impressions(3000, 600)
    own = bootstrap_interval(data.labels, data.probabilities, data.users)["auc"]
    base = bootstrap_interval(data.labels, data.base, data.users)["auc"]
    difference = bootstrap_difference(*data)
    assert own.lower < base.upper
    assert difference["auc"].lower > 0
    assert difference["log_loss"].upper < 0


def test_a_model_does_not_differ_from_itself() -> None:
    data = impressions(300, 30)
    difference = bootstrap_difference(data.labels, data.probabilities, data.probabilities, data.users, resamples=50)
    assert difference == {"auc": (0, 0, 0), "log_loss": (0, 0, 0)}


def test_the_seed_decides_and_the_block_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    data = impressions(300, 31)
    first, again, other = (bootstrap_difference(*data, resamples=101, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["auc"].lower != other["auc"].lower
    for weights in (1, 300 * 7, 300 * 1000):
        monkeypatch.setattr(module, "_WEIGHTS_AT_ONCE", weights)
        blocked = bootstrap_difference(*data, resamples=101, seed=1)
        # To rounding: a product of matrices may add up in another order.
        np.testing.assert_allclose([*blocked.values()], [*first.values()], rtol=1e-12)


@pytest.mark.parametrize("kind", ["int64", "str", "bytes", "object"])
def test_users_of_any_kind(kind: str) -> None:
    data = impressions(300, 8)
    # Numbers of sixteen digits each: as strings they sort as they do as numbers.
    users = data.users.astype("S").astype(object) if kind == "object" else data.users.astype(kind.replace("bytes", "S"))
    expected = bootstrap_interval(data.labels, data.probabilities, data.users, resamples=30)
    assert bootstrap_interval(data.labels, data.probabilities, users, resamples=30) == expected


def test_a_thousand_resamples_take_moments() -> None:
    data = impressions(12_000, 3_000)
    start = time.process_time()  # which other processes take no part in
    bootstrap_difference(*data)
    assert time.process_time() - start < 10  # 0.6 s on two cores


def test_resamples_without_a_click_are_left_out() -> None:
    # Four users of 40 click, so about one resample in sixty has none of them (0.9^40 = 1.5%).
    labels, users = np.zeros(80, int), np.arange(80) // 2
    labels[[0, 2, 4, 6]] = 1
    probabilities = np.linspace(0.9, 0.1, 80)
    interval = bootstrap_interval(labels, probabilities, users, resamples=500)["auc"]
    assert np.isfinite(interval).all()
    assert interval.lower < interval.estimate


def test_too_few_users_with_a_click() -> None:
    labels = np.zeros(80, int)
    labels[0] = 1
    with pytest.raises(ValueError, match=r"of enough users: .* Received: [0-9]+ such of 100 resamples of 40 users"):
        bootstrap_interval(labels, np.linspace(0.1, 0.9, 80), np.arange(80) // 2, resamples=100)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"labels": [0, 1, 2, 1]}, ValueError, "`labels` must be 0 or 1. Received: 2"),
        ({"labels": [0, 0, 0, 0]}, ValueError, "`labels` must hold both 0 and 1. Received: 4 labels, all 0"),
        ({"probabilities": [0.1, np.nan, 0.2, 0.3]}, ValueError, "`probabilities` must not be NaN. Received: 1 NaN"),
        ({"base_probabilities": [0.1, 0.2]}, ValueError, "`base_probabilities` must have the shape of `labels`"),
        (
            {"base_probabilities": [0.1, 7, 0.2, 0.3]},
            ValueError,
            r"`base_probabilities` must be in \[0, 1\]. .* to 7.0",
        ),
        ({"users": [1, 2, 3]}, ValueError, r"`users` must have the shape of `labels`. Received: shapes \(3,\)"),
        ({"users": ["ann"] * 4}, ValueError, "`users` must hold at least two, of which to draw. Received: .*ann"),
        ({"users": ["ann", None, "bob", 3]}, TypeError, "`users` must be .*. Received: NoneType, int, str"),
        ({"resamples": 0}, ValueError, "`resamples` must be at least 1. Received: 0"),
        ({"confidence": 95}, ValueError, "`confidence` must be between 0 and 1, .* Received: 95"),
    ],
)
def test_bad_input(changed: dict, error: type[Exception], message: str) -> None:
    four = {"probabilities": [0.1, 0.2, 0.3, 0.4], "base_probabilities": [0.1, 0.2, 0.3, 0.4]}
    with pytest.raises(error, match=message):
        bootstrap_difference(**{"labels": [0, 1, 0, 1], **four, "users": [1, 1, 2, 2], **changed})
