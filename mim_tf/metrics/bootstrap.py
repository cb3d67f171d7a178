"""Bootstrap confidence intervals: what other users would have given."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from mim_tf.metrics.checks import (
    Bools,
    Floats,
    Integers,
    Numbered,
    binary_labels,
    check_both_classes,
    numbered,
    probabilities_of,
)
from mim_tf.metrics.interval import Interval, check_confidence
from mim_tf.metrics.log_loss import losses

_WEIGHTS_AT_ONCE = 2**18  # 2 MiB in int64, which caches hold; about six such arrays live at a time
_MOST_WITHOUT_AUC = 0.05

# Of resamples' user counts `[resamples, users]`, the metric of each resample.
_Metric = Callable[[Integers], npt.NDArray[np.float64]]


def bootstrap_interval(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    users: npt.ArrayLike,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a model's AUC and log loss with percentile intervals from resampling users.

    Each resample draws as many users as there are, with replacement, and takes all impressions of each as often as it
    was drawn: a user's impressions hang together, and drawing them one by one would give intervals that are too narrow.
    The ends are the `(1 - confidence) / 2` and `(1 + confidence) / 2` quantiles of the resamples' metrics. A resample
    with a single class has no AUC and is left out of it; more than 5% of them are refused.

    Time: one sort, then linear in impressions for each resample. Memory: blocks of 2^18 weights, or one resample's if
    that is more.

    Args:
        labels: `[impressions]`, 0 or 1.
        probabilities: `[impressions]`, of a click, in [0, 1].
        users: `[impressions]`, user ids: integers, bytes or strings; at least two users.
        resamples: how many, at least 1; a 95% interval wants about 1,000.
        confidence: the share of such intervals that hold the true value.
        seed: of the draws. The same seed gives the same interval.

    Returns:
        `auc` and `log_loss` (nats), each an `Interval` around its value on all impressions.

    Raises:
        ValueError: if the lengths differ, a label is neither 0 nor 1, all are the same, a probability is NaN or outside
            [0, 1], there is one user only, too few users have clicked or not clicked, or an option is out of range.
        TypeError: if the users are of several kinds, strings and None say.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> probabilities = rng.uniform(size=2000)
        >>> interval = bootstrap_interval(rng.uniform(size=2000) < probabilities, probabilities, np.arange(2000) // 4)
        >>> [round(end, 2) for end in interval["auc"]]  # for uniform probabilities that are right, 5/6 in truth
        [0.84, 0.82, 0.86]

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; Field and Welsh, Bootstrapping
        clustered data, JRSS B 2007, for resampling of whole clusters.
    """
    clicked, grouped = _clicks_of_users(labels, users)
    array = probabilities_of(probabilities, clicked)
    metrics = _metrics(clicked, array, grouped)
    return _intervals(metrics, grouped, resamples, confidence, seed)


def bootstrap_difference(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    base_probabilities: npt.ArrayLike,
    users: npt.ArrayLike,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return what a model has over a base model on the same impressions, with intervals from resampling users.

    Paired: each resample measures both models on the same users, so what makes impressions easy or hard for both
    cancels. An interval for AUC above zero, and one for log loss below it, speak for the model. Drawn as in
    `bootstrap_interval`; the same seed draws the same users.

    Args:
        labels: `[impressions]`, 0 or 1.
        probabilities: `[impressions]`, the model's, of a click, in [0, 1].
        base_probabilities: `[impressions]`, the base model's, in the same order.
        users: `[impressions]`, user ids: integers, bytes or strings; at least two users.
        resamples: as in `bootstrap_interval`.
        confidence: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Returns:
        `auc` and `log_loss` (nats), each an `Interval` of the model's minus the base model's.

    Raises:
        ValueError: as `bootstrap_interval`.
        TypeError: as `bootstrap_interval`.

    Example:
        >>> difference = bootstrap_difference([0, 1, 1, 0] * 9, [0.2, 0.8] * 18, [0.2, 0.8] * 18, np.arange(36) // 2)
        >>> difference["auc"]
        Interval(estimate=0.0, lower=0.0, upper=0.0)
    """
    clicked, grouped = _clicks_of_users(labels, users)
    model = _metrics(clicked, probabilities_of(probabilities, clicked), grouped)
    base = _metrics(clicked, probabilities_of(base_probabilities, clicked, "base_probabilities"), grouped)
    metrics = {name: _minus(model[name], base[name]) for name in model}
    return _intervals(metrics, grouped, resamples, confidence, seed)


def _clicks_of_users(labels: npt.ArrayLike, users: npt.ArrayLike) -> tuple[Bools, Numbered]:
    clicked = binary_labels(labels)
    check_both_classes(clicked)
    grouped = numbered(users, clicked, "users")
    if grouped.names.size < 2:
        raise ValueError(f"`users` must hold at least two, of which to draw. Received: {grouped.names[0]!r} alone.")
    return clicked, grouped


def _metrics(clicked: Bools, probabilities: Floats, users: Numbered) -> dict[str, _Metric]:
    return {
        "auc": _resampled_auc(clicked, probabilities, users),
        "log_loss": _resampled_log_loss(clicked, probabilities, users),
    }


def _minus(first: _Metric, second: _Metric) -> _Metric:
    return lambda counts: first(counts) - second(counts)


def _resampled_auc(clicked: Bools, scores: Floats, users: Numbered) -> _Metric:
    """Sort once; a resample is then a weighted AUC by cumulative sums over the distinct scores.

    ```
    AUC = sum_s P_s (N_{<s} + N_s / 2) / (P N)        P_s, N_s: weight of clicks and non-clicks with score s
    ```
    """
    order = np.argsort(scores, kind="stable")
    users_in_order, clicked_in_order, in_order = users.numbers[order], clicked[order], scores[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])

    def resampled(counts: Integers) -> npt.NDArray[np.float64]:
        weights = counts[:, users_in_order]  # [resamples, impressions]
        clicks = np.add.reduceat(weights * clicked_in_order, starts, axis=1)  # [resamples, distinct scores]
        others = np.add.reduceat(weights, starts, axis=1) - clicks
        below = np.cumsum(others, axis=1)
        pairs = clicks.sum(axis=1) * below[:, -1]
        # Twice the wins: in integers, so that a resample of everyone once is the AUC to the last bit.
        wins = np.einsum("rs,rs->r", clicks, 2 * below - others)
        return np.divide(wins, 2 * pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)

    return resampled


def _resampled_log_loss(clicked: Bools, probabilities: Floats, users: Numbered) -> _Metric:
    """Each user's sum of losses serves all resamples."""
    sums = np.bincount(users.numbers, weights=losses(clicked, probabilities))
    return lambda counts: (counts @ sums) / (counts @ users.sizes)


def _intervals(
    metrics: dict[str, _Metric], users: Numbered, resamples: int, confidence: float, seed: int
) -> dict[str, Interval]:
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1. Received: {resamples}.")
    check_confidence(confidence)
    blocks = [[metric(counts) for metric in metrics.values()] for counts in _draws(users, resamples, seed)]
    values = dict(zip(metrics, np.concatenate(blocks, axis=1), strict=True))
    without_auc = int(np.isnan(values["auc"]).sum())
    if without_auc > _MOST_WITHOUT_AUC * resamples:
        raise ValueError(
            f"`labels` must hold both 0 and 1 of enough users: resamples with a single class have no AUC. "
            f"Received: {without_auc} such of {resamples} resamples of {users.names.size} users."
        )
    everyone_once = np.ones((1, users.names.size), np.int64)
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    return {
        name: Interval(float(metric(everyone_once)[0]), *np.nanquantile(values[name], ends).tolist())
        for name, metric in metrics.items()
    }


def _draws(users: Numbered, resamples: int, seed: int) -> Iterator[Integers]:
    """Yield how often each resample draws each user, `[block of resamples, users]`."""
    rng = np.random.default_rng(seed)
    count = users.names.size
    block = max(1, _WEIGHTS_AT_ONCE // users.numbers.size)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
