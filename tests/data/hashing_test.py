"""The hash that samples and shuffles."""

import hashlib
from collections.abc import Callable
from typing import Any

import ibis
import pandas as pd
import pytest
from ibis.backends.sql.compilers.pyspark import PySparkCompiler

from mim_tf.data.hashing import hashed, is_held_out


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_the_hash_is_md5_of_seed_and_keys(tabled: Callable[[pd.DataFrame], Any]) -> None:
    table = tabled(pd.DataFrame({"number": [-1, 7], "text": ["a", "ü:b"]}))
    found = table.order_by("number").select(hash=hashed(3, table.number, table.text)).to_pyarrow()["hash"].to_pylist()
    assert found == [md5(text) for text in ("3:-1:a", "3:7:ü:b")]


@pytest.mark.parametrize("ids", [int, str])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.9999999999])
def test_a_share_is_held_out_by_the_md5_of_the_id(
    tabled: Callable[[pd.DataFrame], Any], ids: type, share: float
) -> None:
    table = tabled(pd.DataFrame({"item_id": list(map(ids, range(3000)))}))
    found = table.filter(is_held_out(table.item_id, share)).to_pyarrow()["item_id"].to_pylist()
    expected = [item for item in map(ids, range(3000)) if int(md5(f"held_out:{item}")[:8], 16) < int(share * 2**32)]
    assert sorted(found) == sorted(expected)
    assert len(found) == pytest.approx(3000 * share, abs=4 * (3000 * share * (1 - share)) ** 0.5)


def test_a_larger_share_holds_out_the_rows_of_a_smaller_one(tabled: Callable[[pd.DataFrame], Any]) -> None:
    table = tabled(pd.DataFrame({"item_id": range(1000)}))
    less, more = is_held_out(table.item_id, 0.1), is_held_out(table.item_id, 0.2)
    counts = table.aggregate(both=(less & more).sum(), less=less.sum(), more=more.sum()).to_pyarrow().to_pylist()[0]
    assert 0 < counts["both"] == counts["less"] < counts["more"]


def test_the_expression_compiles_for_spark() -> None:
    table = ibis.table({"item_id": "int64"}, name="items")
    sql = PySparkCompiler().to_sqlglot(table.filter(is_held_out(table.item_id, 0.1))).sql("spark")
    assert "MD5(" in sql.upper()
    assert "'19999999'" in sql
