"""Tables of stored embeddings: their room, and what cannot be one."""

import numpy as np
import pytest

from mim_tf.errors import DataError
from mim_tf.representation import StoredEmbeddings
from mim_tf.settings import Settings
from mim_tf.training.tables import table_of

SETTINGS = Settings.model_validate({"data": {"items": "items.parquet"}})


def stored_items(rows: list[int], item_ids: list[int]) -> StoredEmbeddings:
    embeddings = np.zeros([len(rows), 3], np.float16)
    return StoredEmbeddings(np.array(item_ids), np.array(rows), embeddings, "e", 5, store="s", slots=1)


@pytest.mark.parametrize(
    ("last_row", "share", "capacity"),
    # A tenth of 8,000 is below 1,024.
    [(7999, 0.25, 10_000), (7999, 0.1, 9024), (7999, 0.0, 9024), (9, 0.25, 1034), (9, None, 10)],
)
def test_spare_rows_are_a_share_of_those_there_or_1024(last_row: int, share: float | None, capacity: int) -> None:
    stored = stored_items([0, last_row], [1, 2])
    assert table_of(stored, SETTINGS, spare=share).capacity == capacity


def test_what_cannot_be_a_table_is_the_datas_fault() -> None:
    stored = stored_items([0, 1], [3, 3])
    with pytest.raises(DataError, match=r"embeddings cannot make a table: .*Received: 3 and 3 with the same key"):
        table_of(stored, SETTINGS)
