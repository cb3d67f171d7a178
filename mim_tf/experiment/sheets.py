"""Which versions each table and figure compares, and how it is made of what they have shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mim_tf.efficiency.efficiency import EfficiencyRow, efficiency
from mim_tf.errors import MimError
from mim_tf.experiment import by_group, paper, versions
from mim_tf.experiment.comparisons import comparison_sheet
from mim_tf.experiment.data_statistics import ALL, data_statistics
from mim_tf.experiment.experiment import NO_CLICK_MODEL, Experiment
from mim_tf.experiment.measured import Outcome
from mim_tf.experiment.sheet import Number, Sheet, Value, empty_sheet
from mim_tf.experiment.versions import Version
from mim_tf.figures.estimates import estimates_figure
from mim_tf.settings import Settings


class SheetKind(NamedTuple):
    """How a table or figure comes about.

    Attributes:
        versions: that it compares.
        make: of what they have shown.
    """

    versions: Callable[[Settings], list[Version]]
    make: Callable[[Experiment], Sheet]


def _both(settings: Settings) -> list[Version]:
    return [versions.mim(settings), versions.base(settings)]


def _table1(experiment: Experiment) -> Sheet:
    try:
        return data_statistics(experiment.settings.data)
    except MimError as error:
        return empty_sheet("table1", "Table 1: the data", str(error), paper.DATA)


def _table2(experiment: Experiment) -> Sheet:
    models = versions.user_behaviour_models(experiment.settings)
    sheet = by_group.table2({name: _pair(experiment, base, mim) for name, (base, mim) in models.items()})
    gains = [(name.removesuffix(", Δ"), values.get(ALL)) for name, values in sheet.rows if name.endswith(", Δ")]
    return _drawn(sheet, gains, "gain in AUC, Base+MIM over Base", reference=0.0)


def _pair(experiment: Experiment, base: Version, mim: Version) -> tuple[Outcome, Outcome]:
    """What both have shown; what is missing of one is missing of the comparison."""
    outcomes = experiment.outcome(base), experiment.outcome(mim)
    return outcomes[0], outcomes[1]._replace(missing=outcomes[1].missing or outcomes[0].missing)


def _table3(experiment: Experiment) -> Sheet:
    rows = versions.pre_training_steps(experiment.settings)
    return _compared(experiment, "table3", "Table 3: steps of pre-training", rows, paper.PRE_TRAINING)


def _table4(experiment: Experiment) -> Sheet:
    rows = versions.signals_and_losses(experiment.settings)
    return _compared(experiment, "table4", "Table 4: signal and loss of C-SFT", rows, paper.SIGNALS)


def _compared(
    experiment: Experiment, name: str, title: str, rows: list[Version], of_paper: Mapping[str, str] | None
) -> Sheet:
    """Versions beside Base."""
    base = experiment.outcome(versions.base(experiment.settings))
    sheet = comparison_sheet(name, title, base, [experiment.outcome(row) for row in rows], of_paper)
    return _drawn(sheet, [(row, values.get("AUC")) for row, values in sheet.rows], "AUC")


def _ablations(settings: Settings) -> list[Version]:
    return [versions.mim(settings), *versions.csft_ablations(settings), *versions.ciubm_ablations(settings)]


def _table5(experiment: Experiment) -> Sheet:
    settings = experiment.settings
    mim, *outcomes = (experiment.outcome(row) for row in _ablations(settings))
    sheet = comparison_sheet("table5", "Table 5: ablations", mim, outcomes, paper.ABLATIONS)
    differences = [(row, values.get("Δ")) for row, values in sheet.rows[1:]]
    return _drawn(sheet, differences, "difference in AUC to MIM", reference=0.0)


def _table6(experiment: Experiment) -> Sheet:
    """Measured on the first seed's chain, whose embeddings are there."""
    title = "Table 6: what a sample costs"
    mim = versions.mim(experiment.settings)
    chain = experiment.chain(mim, 0)
    if (why := experiment.missing(mim, "represent")) is not None:
        why = NO_CLICK_MODEL if experiment.last_stage == "csft" else why
        return empty_sheet("table6", title, why, paper.EFFICIENCY)
    workdir = chain.workdir("represent")
    try:
        costs = efficiency(chain.settings, workdir, f"--config {workdir / 'run.yaml'} --workdir {workdir}")
    except MimError as error:
        return empty_sheet("table6", title, str(error), paper.EFFICIENCY)
    return Sheet("table6", title, _COSTS, [(row.version, _costs(row)) for row in costs], _COSTS_NOTES, paper.EFFICIENCY)


_COSTS = tuple(
    f"{name} {mode}"
    for name in ("GFLOPs", "Δ GFLOPs", "ms", "peak memory (MB)", "of it before the step (MB)")
    for mode in ("train", "inference")
)
_COSTS_NOTES = (
    "GFLOPs and ms are of a sample, an impression, in batches of `rank.batch_size`; a multiplication and its addition "
    "are two operations. Δ is (A - B) / B, B being Base. Memory is of a process of its own, or of the GPU where there "
    "is one. Without the representation center each distinct item of a batch is encoded once; end to end once more for "
    "the gradient, which takes less memory than the paper's way, and a third more operations.",
)


def _costs(row: EfficiencyRow) -> dict[str, Value]:
    modes = ((row.training, row.training_change), (row.inference, row.inference_change))
    values = [
        *(cost.gflops for cost, _ in modes),
        *(change.gflops for _, change in modes),
        *(1e3 * cost.seconds for cost, _ in modes),
        *(cost.memory / 1e6 for cost, _ in modes),
        *(cost.memory_before / 1e6 for cost, _ in modes),
    ]
    return dict(zip(_COSTS, values, strict=True))


def _table7(experiment: Experiment) -> Sheet:
    sheet = by_group.table7(*_outcomes(experiment))
    return _drawn(sheet, [(row, values["Δ"]) for row, values in sheet.rows], "gain in AUC", reference=0.0)


def _figure5(experiment: Experiment) -> Sheet:
    kinds = versions.foundation_models(experiment.settings)
    rows = [row._replace(name=f"{kind}: {row.name}") for kind, group in kinds.items() for row in group]
    sheet = _compared(experiment, "figure5", "Figure 5: foundation models", rows, None)
    if len(rows) > len(kinds):
        return sheet
    return replace(sheet, notes=("Name others in `experiment.vision` and `experiment.text`.", *sheet.notes))


def _figure6(experiment: Experiment) -> Sheet:
    sheet = by_group.figure6(*_outcomes(experiment))
    return _drawn(sheet, [(row, values["Δ"]) for row, values in sheet.rows], "gain in AUC", reference=0.0)


def _outcomes(experiment: Experiment) -> tuple[Outcome, Outcome]:
    base, mim = _pair(experiment, versions.base(experiment.settings), versions.mim(experiment.settings))
    return mim, base


def _drawn(sheet: Sheet, values: Sequence[tuple[str, Value]], label: str, reference: float | None = None) -> Sheet:
    """A sheet with the picture of one of its columns, as far as there are numbers in it."""
    numbers = [(name, value.interval) for name, value in values if isinstance(value, Number)]
    if not numbers:
        return sheet
    names, intervals = zip(*numbers, strict=True)
    return replace(sheet, figure=estimates_figure(names, intervals, label, reference=reference))


SHEETS: Mapping[str, SheetKind] = {
    "table1": SheetKind(lambda settings: [], _table1),
    "table2": SheetKind(
        lambda settings: [row for pair in versions.user_behaviour_models(settings).values() for row in pair], _table2
    ),
    "table3": SheetKind(lambda settings: [*_both(settings), *versions.pre_training_steps(settings)], _table3),
    "table4": SheetKind(lambda settings: [*_both(settings), *versions.signals_and_losses(settings)], _table4),
    "table5": SheetKind(_ablations, _table5),
    "table6": SheetKind(_both, _table6),
    "table7": SheetKind(_both, _table7),
    "figure5": SheetKind(
        lambda settings: [row for rows in versions.foundation_models(settings).values() for row in rows], _figure5
    ),
    "figure6": SheetKind(_both, _figure6),
}
"""The paper's tables and figures by name, in its order."""
