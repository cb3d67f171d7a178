"""Statistics of features against NumPy's."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data import column_statistics
from mim_tf.data.column_statistics import ColumnStatistics, in_batches_of, statistics_of, value_counts, vocabulary
from mim_tf.data.workspace import Workspace

Tabled = Callable[[pd.DataFrame], Any]
ROWS = 5000
RANDOM = np.random.default_rng(7)
NUMBERS = {
    "normal": (1e6 + RANDOM.normal(size=ROWS)).astype(np.float32),
    "skewed": RANDOM.exponential(size=ROWS).astype(np.float32) ** 3,
    "few": RANDOM.integers(-3, 4, ROWS),
    "seconds": RANDOM.integers(0, 10**9, ROWS),
    "one": np.full(ROWS, 7),
    "mostly zero": np.where(RANDOM.random(ROWS) < 0.65, 0, RANDOM.integers(0, 99, ROWS)),
    "single": np.array([-2.5], np.float32),
}


@pytest.fixture(params=[65_536, 97], ids=["one batch", "many batches"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values come in one batch or in many."""
    monkeypatch.setattr(column_statistics, "_VALUES_AT_ONCE", request.param)


def computed(workspace: Workspace, tabled: Tabled, values: Any) -> ColumnStatistics:
    return statistics_of(workspace, tabled(pd.DataFrame({"price": values})).price, len(values))


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("name", list(NUMBERS))
def test_numbers_equal_numpy(workspace: Workspace, tabled: Tabled, name: str) -> None:
    values = NUMBERS[name]
    found = computed(workspace, tabled, values)
    wide, rows = np.sort(values.astype(np.float64)), len(values)
    assert (found.kind, found.rows) == ("float" if values.dtype.kind == "f" else "int64", rows)
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(wide.std(), rel=1e-9)
    assert found.quantiles == tuple(wide[min(number * rows // 1000, rows - 1)] for number in range(1001))


@pytest.mark.parametrize("name", ["few", "mostly zero", "one"])
def test_the_vocabulary_is_by_frequency_and_then_by_value(workspace: Workspace, tabled: Tabled, name: str) -> None:
    values = NUMBERS[name].tolist()
    for kind, given in (("int64", values), ("string", [f"ÿ{value}" for value in values])):
        found = computed(workspace, tabled, given)
        expected = sorted(Counter(given).items(), key=lambda entry: (-entry[1], entry[0]))
        assert found.kind == kind
        assert list(zip(found.vocabulary, found.counts, strict=True)) == expected


def test_equally_frequent_values_are_in_their_own_order(workspace: Workspace, tabled: Tabled) -> None:
    found = computed(workspace, tabled, ["b", "ä", "a", "", "", "", "B", "b"])
    assert (found.vocabulary, found.counts) == (("b", "B", "a", "ä"), (2, 1, 1, 1))
    assert (found.rows, found.mean, found.deviation, found.quantiles) == (8, 0.0, 0.0, ())
    assert computed(workspace, tabled, [2**53 + 1, -1, 2**53]).vocabulary == (-1, 2**53, 2**53 + 1)
    assert computed(workspace, tabled, ["", ""]).vocabulary == ()


def test_a_long_vocabulary_keeps_the_most_frequent(workspace: Workspace, tabled: Tabled) -> None:
    values = np.concatenate([np.arange(100_010), np.arange(100_000, 100_010)])
    found = computed(workspace, tabled, values)
    assert len(found.vocabulary) == 100_000
    assert found.vocabulary[:11] == (*range(100_000, 100_010), 0)
    assert found.rows == 100_020


@pytest.mark.parametrize("buckets", [2, 10, 1000])
@pytest.mark.parametrize("name", list(NUMBERS))
def test_boundaries_part_the_rows_evenly(workspace: Workspace, tabled: Tabled, name: str, buckets: int) -> None:
    values = np.sort(NUMBERS[name])
    boundaries = computed(workspace, tabled, values).boundaries(buckets)
    assert list(boundaries) == sorted(set(boundaries))
    sizes = np.bincount(np.digitize(values, boundaries), minlength=len(boundaries) + 1)
    assert sizes.min() > 0, "a bucket is empty"
    largest_tie = max(Counter(values.tolist()).values())
    assert sizes.max() <= len(values) / buckets + largest_tie + len(values) / 1000 + 1


def test_each_of_few_values_has_its_bucket(workspace: Workspace, tabled: Tabled) -> None:
    assert computed(workspace, tabled, list(range(10)) * 7).boundaries(10) == tuple(range(1, 10))
    assert computed(workspace, tabled, [3, 3, 3]).boundaries(10) == ()


def test_the_order_of_rows_does_not_matter(workspace: Workspace, tabled: Tabled) -> None:
    values = np.random.default_rng(1).normal(size=400_000).astype(np.float32)  # several threads count them
    assert computed(workspace, tabled, values) == computed(workspace, tabled, values[::-1])


def test_the_expressions_compile_for_spark() -> None:
    for kind in ("string", "int64"):  # of floats Ibis' compiler asks the options of a Spark that is there
        column = ibis.table({"colour": kind}, name="items").colour
        sql = PySparkCompiler().to_sqlglot(vocabulary(value_counts(column))).sql("spark")
        assert "GROUP BY" in sql
        assert "DESC" in sql


@pytest.mark.parametrize("cuts", [[], [1], [7, 8, 20], [10, 20]])
def test_batches_have_one_size_wherever_they_were_cut(cuts: list[int]) -> None:
    whole = pa.record_batch({"value": np.arange(23)})
    ends = [*cuts, 23]
    parts = [whole.slice(begin, end - begin) for begin, end in zip([0, *cuts], ends, strict=True)]
    batches = [batch.column(0).to_pylist() for batch in in_batches_of(10, parts)]
    assert batches == [list(range(10)), list(range(10, 20)), [20, 21, 22]]
