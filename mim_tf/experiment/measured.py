"""What the seeds of one version have shown, and how it compares with another version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mim_tf.errors import DataError
from mim_tf.experiment.sheet import Number
from mim_tf.metrics import auc, bootstrap_difference, holm, paired_p_value, paired_seed_interval, seed_interval
from mim_tf.training.scoring import Scored

Values = Mapping[int, float]
"""By seed, a metric of a version."""

_MOST = 200_000  # impressions that are drawn from for intervals over users, the first ones; records come shuffled


class Outcome(NamedTuple):
    """What a version's chains have shown.

    Attributes:
        name: of the version.
        scored: by seed, its predictions.
        retrieval: by seed, the metrics of its C-SFT.
        missing: why seeds are missing, if some are.
    """

    name: str
    scored: Mapping[int, Scored]
    retrieval: Mapping[int, Mapping[str, float]]
    missing: str | None = None

    @property
    def aucs(self) -> Values:
        """AUC over all impressions."""
        return {seed: auc(scored.labels, scored.probabilities) for seed, scored in self.scored.items()}


def mean_of(values: Values) -> Number | None:
    """The mean over seeds, with its interval; None if no seed has a value."""
    return Number(seed_interval(list(values.values()))) if values else None


def gain_of(values: Values, reference: Values) -> Number | None:
    """The mean difference over the seeds that both versions have, with its interval and p-value."""
    both = sorted(values.keys() & reference.keys())
    if not both:
        return None
    of_version, of_reference = [values[seed] for seed in both], [reference[seed] for seed in both]
    return Number(paired_seed_interval(of_version, of_reference), paired_p_value(of_version, of_reference))


def gain_over_users(version: Outcome, reference: Outcome) -> Number | None:
    """The difference of the first seed's AUC, with the interval that other users would give; None of too few users.

    Raises:
        DataError: the two are not of the same impressions.
    """
    both = sorted(version.scored.keys() & reference.scored.keys())
    if not both:
        return None
    scored, other = version.scored[both[0]], reference.scored[both[0]]
    check_same(scored, other)
    labels, users, mine, others = (
        column[:_MOST] for column in (scored.labels, scored.users, scored.probabilities, other.probabilities)
    )
    try:
        found = bootstrap_difference(labels, mine, others, users)
    except ValueError:  # too few users, or too few of them have clicked
        return None
    return Number(found["auc"], float("nan"))


def check_same(scored: Scored, other: Scored) -> None:
    """Refuse to compare predictions of different impressions.

    Raises:
        DataError: they are.
    """
    if not same_impressions(scored, other):
        raise DataError(
            "two versions were measured on different impressions: the shop's files have changed since the first of "
            "them was prepared. Use another --workdir."
        )


def same_impressions(scored: Scored, other: Scored) -> bool:
    """Whether two models' predictions are of the same impressions in the same order."""
    columns = ("labels", "users", "items", "categories", "ages")
    mine, others = scored._asdict(), other._asdict()
    return all(mine[name] is others[name] or np.array_equal(mine[name], others[name]) for name in columns)


def corrected(numbers: Sequence[Number | None]) -> list[Number | None]:
    """Differences with p-values that are corrected for their number, after Holm."""
    tested = [float("nan") if number is None or number.p is None else number.p for number in numbers]
    return [number if number is None else number._replace(p=p) for number, p in zip(numbers, holm(tested), strict=True)]


def seeds_note(outcomes: Iterable[Outcome], compared_with: str) -> list[str]:
    """How numbers come about, with how many seeds; nothing where there are none."""
    seeds = sorted({len(outcome.scored) or len(outcome.retrieval) for outcome in outcomes} - {0})
    if not seeds:
        return []
    if seeds == [1]:
        return [f"Of one seed, so there are no intervals over seeds. Δ is the difference to {compared_with}."]
    of = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return [
        f"Means of {of} seeds, each a whole chain of stages, with 95% intervals (Student's t). Δ is the difference to "
        f"{compared_with} over pairs of the same seed; *: p < 0.05 in the paired t-test, after Holm for a whole table."
    ]


def reasons(outcomes: Iterable[Outcome]) -> list[str]:
    """Why something is missing, each reason once, with the versions that it is of."""
    names: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.missing:
            names.setdefault(outcome.missing, []).append(outcome.name)
    return [f"{'; '.join(dict.fromkeys(of_reason))}: {reason}." for reason, of_reason in names.items()]
