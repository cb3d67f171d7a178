"""How the values of one feature are distributed, so that a model can scale, bucket or look them up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from mim_tf.data.feature_columns import record_type
from mim_tf.data.workspace import Workspace

PARTS = 1000
VOCABULARY_LENGTH = 100_000
_VALUES_AT_ONCE = 65_536


@dataclass(frozen=True)
class ColumnStatistics:
    """The distribution of one feature.

    Attributes:
        kind: "int64", "float" or "string".
        rows: values in all.
        mean: of numbers; 0 for strings.
        deviation: of numbers, their standard deviation over all rows; 0 for strings.
        quantiles: of numbers, 1,001 values at the shares 0, 0.001, ..., 1 of the rows: the smallest value that more
            than this share of rows does not exceed, at 1 the largest. There may be equal ones. Empty for strings.
        vocabulary: the most frequent strings or int64, at most 100,000, in the order of their frequency, equally
            frequent ones in their own; without "", which stands for what is missing. Empty for floats.
        counts: how many rows have each entry of the vocabulary.
    """

    kind: str
    rows: int
    mean: float
    deviation: float
    quantiles: tuple[float, ...]
    vocabulary: tuple[str, ...] | tuple[int, ...]
    counts: tuple[int, ...]

    def boundaries(self, buckets: int) -> tuple[float, ...]:
        """Where to cut numbers into buckets of about as many rows each.

        Args:
            buckets: at most so many; fewer where many rows have one value.

        Returns:
            Ascending; each is the smallest number of its bucket, and the first bucket has none.
        """
        cuts = {self.quantiles[number * PARTS // buckets] for number in range(1, buckets)}
        return tuple(sorted(cuts - {self.quantiles[0]}))


def statistics_of(workspace: Workspace, column: ir.Column, rows: int) -> ColumnStatistics:
    """Compute the statistics of a checked feature; the order of its rows does not matter to the last bit.

    Args:
        workspace: the engine.
        column: int64, float32 or string, without nulls.
        rows: how many values it has.
    """
    counted = value_counts(column)
    kind = record_type(counted.value).removesuffix("32")
    if kind == "string":
        return ColumnStatistics(kind, rows, 0.0, 0.0, (), *_vocabulary(counted))
    if kind == "int64":
        counted = workspace.keep(counted)  # read twice
    batches = workspace.stream(counted.order_by("value").select("value", "count"), _VALUES_AT_ONCE)
    distribution = _distribution(in_batches_of(_VALUES_AT_ONCE, batches), rows)
    return ColumnStatistics(kind, rows, *distribution, *(_vocabulary(counted) if kind == "int64" else ((), ())))


def in_batches_of(rows: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of just so many, the last perhaps smaller: an engine's own cuts would show in sums."""
    rest: pa.RecordBatch | None = None
    for batch in batches:
        rest = batch if rest is None else pa.concat_batches([rest, batch])
        while rest.num_rows >= rows:
            yield rest[:rows]
            rest = rest[rows:]
    if rest is not None and rest.num_rows:
        yield rest


def value_counts(column: ir.Column) -> ir.Table:
    """How many rows have each `value` of a column: its `count`."""
    table = column.name("value").as_table()
    return table.group_by("value").aggregate(count=table.count())


def vocabulary(counted: ir.Table) -> ir.Table:
    """All values but "", `value, count`, the most frequent first."""
    if counted.value.type().is_string():
        counted = counted.filter(counted.value != "")
    return counted.select("value", "count").order_by(ibis.desc("count"), "value")


def _vocabulary(counted: ir.Table) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    listed = vocabulary(counted).limit(VOCABULARY_LENGTH).to_pyarrow()
    return tuple(listed["value"].to_pylist()), tuple(listed["count"].to_pylist())


def _distribution(batches: Iterable[pa.RecordBatch], rows: int) -> tuple[float, float, tuple[float, ...]]:
    """Mean, standard deviation and quantiles of values that come in order, each with its count.

    Engines add floats in the order of their threads. Here values are added in their own order, and the moments of
    batches are combined pairwise (Chan, Golub and LeVeque, 1983), which keeps them precise far from zero.
    """
    ranks = np.minimum(np.arange(PARTS + 1) * rows // PARTS + 1, rows)
    seen, mean, squares = 0, 0.0, 0.0
    quantiles: list[float] = []
    for batch in batches:
        values, counts = batch.column(0).to_numpy().astype(np.float64), batch.column(1).to_numpy()
        up_to = seen + np.cumsum(counts)
        added, total = int(up_to[-1]) - seen, int(up_to[-1])
        reached = ranks[(seen < ranks) & (ranks <= total)]
        quantiles += values[np.searchsorted(up_to, reached)].tolist()
        centre = float(np.sum(values * counts)) / added
        squares += float(np.sum((values - centre) ** 2 * counts)) + (centre - mean) ** 2 * seen * added / total
        mean += (centre - mean) * added / total
        seen = total
    return mean, math.sqrt(squares / rows), tuple(quantiles)
