"""What the chains of one version have shown, and how it compares with another version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mim_tf.experiment.sheet import Number
from mim_tf.metrics import (
    Interval,
    auc,
    bootstrap_difference,
    holm,
    paired_p_value,
    paired_seed_interval,
    seed_interval,
)
from mim_tf.training.scoring import Scored

Seeds = Mapping[int, Scored]
"""By seed, a version's predictions for the validation impressions."""

Metric = Callable[[Scored], float | None]
"""A number of the predictions; None where there are too few to tell."""


def auc_of(scored: Scored) -> float:
    """AUC over all impressions."""
    return auc(scored.labels, scored.probabilities)


def mean_of(seeds: Seeds, metric: Metric = auc_of) -> Number | None:
    """The mean of a metric over seeds, with its interval; None if no seed has one."""
    values = [value for scored in seeds.values() if (value := metric(scored)) is not None]
    return Number(seed_interval(values)) if values else None


def gain_of(seeds: Seeds, reference: Seeds, metric: Metric = auc_of) -> Number | None:
    """The mean difference of two versions over the seeds that both have, with its interval and p-value."""
    both = sorted(seeds.keys() & reference.keys())
    pairs = [(metric(seeds[seed]), metric(reference[seed])) for seed in both]
    values, others = [], []
    for value, other in pairs:
        if value is not None and other is not None:
            values.append(value)
            others.append(other)
    if not values:
        return None
    return Number(paired_seed_interval(values, others), paired_p_value(values, others))


def gain_over_users(seeds: Seeds, reference: Seeds) -> Number | None:
    """The difference of the first seed's AUC, with the interval that other users would give."""
    both = sorted(seeds.keys() & reference.keys())
    if not both:
        return None
    scored, other = seeds[both[0]], reference[both[0]]
    try:
        found = bootstrap_difference(scored.labels, scored.probabilities, other.probabilities, scored.users)["auc"]
    except ValueError:  # too few users
        return None
    return Number(found, float("nan"))


def corrected(numbers: Sequence[Number | None]) -> list[Number | None]:
    """Differences with p-values that are corrected for their number, after Holm."""
    tested = [float("nan") if number is None or number.p is None else number.p for number in numbers]
    return [number if number is None else number._replace(p=p) for number, p in zip(numbers, holm(tested), strict=True)]


def plain(value: float | None) -> Number | None:
    """A number of which no interval is known."""
    return None if value is None else Number(Interval(value, float("nan"), float("nan")))
