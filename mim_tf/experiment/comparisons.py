"""Tables 3, 4 and 5 and Figure 5: versions of one run beside a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mim_tf.experiment.measured import (
    Outcome,
    Values,
    corrected,
    gain_of,
    gain_over_users,
    mean_of,
    reasons,
    seeds_note,
)
from mim_tf.experiment.sheet import Number, Sheet, Value

RETRIEVAL = {"R@10": "held_out_recall_at_10", "MRR": "held_out_mrr"}
"""Columns of what C-SFT measures on validation pairs, and their names in its metrics."""

_OVER_USERS = "Δ over users is of the first seed, with the 95% interval that other users would give (bootstrap)."
_RETRIEVED = "R@10 and MRR: the query pictures of validation pairs look for their item in the whole catalogue, by h_MM."


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
    everything = (reference, *versions)
    of_reference, *of_versions = aucs = [outcome.aucs for outcome in everything]
    rows = [(outcome.name, _measures(outcome, auc)) for outcome, auc in zip(everything, aucs, strict=True)]
    gains = corrected([gain_of(auc, of_reference) for auc in of_versions])
    found = [gain_of(_retrieval(version, "MRR"), _retrieval(reference, "MRR")) for version in versions]
    for version, gain, difference, (_, values) in zip(versions, gains, corrected(found), rows[1:], strict=True):
        values |= {"Δ": gain, "p": _p(gain), "Δ over users": gain_over_users(version, reference), "Δ MRR": difference}
    if of_paper is not None:
        for row_name, values in rows:
            values["AUC, paper"] = of_paper.get(row_name)
    wanted = ("AUC", "Δ", "p", "Δ over users", *RETRIEVAL, "Δ MRR", "AUC, paper")
    columns = tuple(column for column in wanted if any(values.get(column) is not None for _, values in rows))
    notes = [*seeds_note(everything, reference.name)]
    notes += [note for column, note in (("Δ over users", _OVER_USERS), ("R@10", _RETRIEVED)) if column in columns]
    return Sheet(name, title, columns, rows, (*notes, *reasons(everything)))


def _measures(outcome: Outcome, aucs: Values) -> dict[str, Value]:
    return {"AUC": mean_of(aucs), **{column: mean_of(_retrieval(outcome, column)) for column in RETRIEVAL}}


def _retrieval(outcome: Outcome, column: str) -> Values:
    metric = RETRIEVAL[column]
    return {seed: metrics[metric] for seed, metrics in outcome.retrieval.items() if metric in metrics}


def _p(gain: Number | None) -> str | None:
    if gain is None or gain.p is None or gain.p != gain.p:
        return None
    return "<0.001" if gain.p < 0.001 else f"{gain.p:.3f}"
