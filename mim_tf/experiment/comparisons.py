"""Tables 3, 4 and 5 and Figure 5: versions of one run beside a reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mim_tf.experiment.measured import Seeds, corrected, gain_of, gain_over_users, mean_of
from mim_tf.experiment.sheet import Number, Sheet, Value
from mim_tf.metrics import seed_interval

RETRIEVAL = {"R@10": "held_out_recall_at_10", "MRR": "held_out_mrr"}
"""Columns of what C-SFT measures on validation pairs, and their names in its metrics."""


class Outcome(NamedTuple):
    """What a version's chains have shown.

    Attributes:
        name: of the version.
        scored: by seed, its predictions.
        retrieval: by seed, the metrics of its C-SFT.
        missing: why seeds are missing, if some are.
    """

    name: str
    scored: Seeds
    retrieval: Mapping[int, Mapping[str, float]]
    missing: str | None = None


def comparison_sheet(
    name: str, title: str, reference: Outcome, versions: Sequence[Outcome], of_paper: Mapping[str, str] | None
) -> Sheet:
    """A row for each version: its AUC, its difference to the reference, and what its embeddings find.

    Args:
        name: of the table's files.
        title: of the table.
        reference: that all versions are compared with; the first row.
        versions: the other rows.
        of_paper: the paper's AUCs by version; None where it prints none.
    """
    gains = corrected([gain_of(version.scored, reference.scored) for version in versions])
    rows = [(reference.name, _measures(reference))]
    for version, gain in zip(versions, gains, strict=True):
        over_users = gain_over_users(version.scored, reference.scored)
        difference: dict[str, Value] = {"Δ": gain, "p": _p(gain), "Δ over users": over_users}
        rows.append((version.name, _measures(version) | difference))
    if of_paper is not None:
        for row_name, values in rows:
            values["AUC, paper"] = of_paper.get(row_name)
    wanted = ("AUC", "Δ", "p", "Δ over users", *RETRIEVAL, "AUC, paper")
    columns = tuple(column for column in wanted if any(values.get(column) is not None for _, values in rows))
    return Sheet(name, title, columns, rows, _notes(reference, versions))


def _measures(outcome: Outcome) -> dict[str, Value]:
    measures: dict[str, Value] = {"AUC": mean_of(outcome.scored) if outcome.scored else None}
    for column, metric in RETRIEVAL.items():
        values = [metrics[metric] for metrics in outcome.retrieval.values() if metric in metrics]
        measures[column] = Number(seed_interval(values)) if values else None
    return measures


def _p(gain: Number | None) -> str | None:
    if gain is None or gain.p is None or gain.p != gain.p:
        return None
    return "<0.001" if gain.p < 0.001 else f"{gain.p:.3f}"


def _notes(reference: Outcome, versions: Sequence[Outcome]) -> tuple[str, ...]:
    everything = (reference, *versions)
    seeds = sorted({len(version.scored) for version in everything if version.scored})
    notes = list(reasons(everything))
    if seeds:
        of = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        notes.insert(
            0,
            f"Means of {of} seeds, each a whole chain of stages, with 95% intervals (Student's t). Δ is the difference "
            f"to {reference.name} over pairs of the same seed, p that of the paired t-test after Holm; *: p < 0.05. "
            "Δ over users is of the first seed, with the 95% interval that other users would give (bootstrap).",
        )
    return tuple(notes)


def reasons(outcomes: Iterable[Outcome]) -> list[str]:
    """Why something is missing, each reason once, with the versions that it is of."""
    names: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.missing:
            names.setdefault(outcome.missing, []).append(outcome.name)
    return [f"{'; '.join(dict.fromkeys(of_reason))}: {reason}." for reason, of_reason in names.items()]
