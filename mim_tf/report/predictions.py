"""What the click models of a finished rank stage predicted for the validation impressions."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mim_tf.metrics import Interval, gain_by_group, metrics_by_group, paired_seed_interval
from mim_tf.settings import Settings
from mim_tf.training.rankers import VARIANTS, variants_of
from mim_tf.training.scoring import Scored, predictions_path

# Impressions that all resamples of one interval hold together: of a large log there are fewer resamples.
_RESAMPLED = 200_000_000
_FEWEST_RESAMPLES, _MOST_RESAMPLES = 200, 1000


class Predictions(NamedTuple):
    """Of every seed, of the same impressions in the same order.

    Attributes:
        model: of each seed.
        base: of each seed; none where the run has no base.
    """

    model: list[Scored]
    base: list[Scored]

    @property
    def impressions(self) -> Scored:
        """Labels, users, items and so on; the probabilities are the first model's."""
        return self.model[0]

    @property
    def resamples(self) -> int:
        """How many resamples of users an interval is made of."""
        return int(np.clip(_RESAMPLED // len(self.impressions.labels), _FEWEST_RESAMPLES, _MOST_RESAMPLES))


class ComparedGroup(NamedTuple):
    """A group of impressions.

    Attributes:
        impressions: number of them.
        click_rate: the share that was clicked.
        auc: the model's within the group, the mean over seeds.
        base_auc: the base's.
        gain: `auc - base_auc`, with its interval.
    """

    impressions: int
    click_rate: float
    auc: float
    base_auc: float
    gain: Interval


def load_predictions(settings: Settings, workdir: Path) -> Predictions:
    """Read what the rank stage has left.

    Raises:
        StageError: it left none, as an earlier release.
    """
    of_variant = {
        variant: [Scored.load(predictions_path(workdir, variant, seed)) for seed in range(settings.rank.seeds)]
        for variant in variants_of(settings)
    }
    return Predictions(*(of_variant.get(variant, []) for variant in VARIANTS))


def compared_groups(
    predictions: Predictions, groups: np.ndarray, *, min_impressions: int = 100
) -> dict[Hashable, ComparedGroup]:
    """The gain over the base within each group that can be measured.

    With several seeds the intervals are over them, with one they are over users.

    Args:
        predictions: with a base.
        groups: `[impressions]` integers, bytes or strings.
        min_impressions: that a group must have.

    Returns:
        The groups by name, sorted; perhaps none.
    """
    labels, users = predictions.impressions.labels, predictions.impressions.users
    model, base = ([scored.probabilities for scored in seeds] for seeds in predictions)
    options = {"min_impressions": min_impressions}
    # Measured of the first seed in any case: so groups of so few users that no resample tells anything are left out.
    gains = gain_by_group(labels, model[0], base[0], users, groups, resamples=predictions.resamples, **options)
    if not gains:
        return {}
    measured = [[metrics_by_group(labels, seed, groups, **options) for seed in seeds] for seeds in (model, base)]
    compared = {}
    for name, gain in gains.items():
        aucs, base_aucs = ([seed[name].auc for seed in seeds] for seeds in measured)
        of_seeds = paired_seed_interval(aucs, base_aucs) if len(aucs) > 1 else gain
        _, impressions, click_rate = measured[0][0][name]
        means = float(np.mean(aucs)), float(np.mean(base_aucs))
        compared[name] = ComparedGroup(impressions, click_rate, *means, of_seeds)
    return compared


def kind_of_interval(predictions: Predictions) -> str:
    """What the intervals of `compared_groups` are about, in words."""
    seeds = len(predictions.model)
    if seeds > 1:
        return f"Intervals of 95% are over the {seeds} seeds (Student's t, paired)"
    return (
        f"Intervals of 95% are over users (bootstrap, {predictions.resamples} resamples), of the one seed there is: "
        "what another training would give they do not know"
    )
