"""Numbers in the order of a hash: those of one window over all rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler
from sqlglot import exp

from mim_tf.data.hashing import hashed
from mim_tf.data.numbering import numbered

Tabled = Callable[[pd.DataFrame], Any]


def keys(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(rows)
    return pd.DataFrame(
        {"key": np.arange(rows), "side": random.integers(0, 2, rows), "kind": random.integers(0, 9, rows)}
    )


@pytest.mark.parametrize(("within", "first_by"), [([], []), (["side"], []), ([], ["kind"]), (["side"], ["kind"])])
@pytest.mark.parametrize("rows", [1, 5000])
def test_numbers_are_those_of_a_sort(tabled: Tabled, rows: int, within: list[str], first_by: list[str]) -> None:
    table = tabled(keys(rows))
    found = numbered(table.mutate(digest=hashed(3, table.key)), "place", "digest", within=within, first_by=first_by)
    assert found.columns == ("key", "side", "kind", "digest", "place")
    frame = found.to_pandas().sort_values([*within, *first_by, "digest"], ignore_index=True)
    expected = frame.groupby(within).cumcount() if within else pd.Series(frame.index)
    np.testing.assert_array_equal(frame.place, expected)
    assert sorted(frame.key) == list(range(rows))


def test_rows_are_numbered_by_counts_of_what_they_were_made_of(tabled: Tabled) -> None:
    digested = (table := tabled(keys(5000))).mutate(digest=hashed(3, table.key))
    colours = tabled(pd.DataFrame({"kind": range(9), "colour": list("abcdefghi")}))
    joined = digested.inner_join(colours, "kind")
    found = numbered(joined, "place", "digest", within=["side"], counted=digested)
    frame = found.to_pandas().sort_values(["side", "digest"], ignore_index=True)
    np.testing.assert_array_equal(frame.place, frame.groupby("side").cumcount())
    assert sorted(frame.key) == list(range(5000))


def test_no_window_of_rows_is_without_a_partition(tabled: Tabled) -> None:
    table = tabled(keys(5))
    sql = PySparkCompiler().to_sqlglot(numbered(table.mutate(digest=hashed(3, table.key)), "place", "digest"))
    windows = [node.sql("spark") for node in sql.find_all(exp.Window)]
    assert [("PARTITION BY" in window) for window in windows if "ROW_NUMBER" in window] == [True]
