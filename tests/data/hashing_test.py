"""The hash that samples and shuffles."""

import hashlib
from collections.abc import Callable
from typing import Any

import pandas as pd

from mim_tf.data.hashing import hashed


def test_the_hash_is_md5_of_seed_and_keys(tabled: Callable[[pd.DataFrame], Any]) -> None:
    table = tabled(pd.DataFrame({"number": [-1, 7], "text": ["a", "ü:b"]}))
    found = table.order_by("number").select(hash=hashed(3, table.number, table.text)).to_pyarrow()["hash"].to_pylist()
    assert found == [hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in ("3:-1:a", "3:7:ü:b")]
