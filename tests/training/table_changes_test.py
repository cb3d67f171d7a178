"""Changes of a table, by a file and in parts."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingTable
from mim_tf.training import table_changes
from mim_tf.training.table_changes import TableChanges

IDS = {"int64": np.array([5, 2**60, -7, 9, 8]), "string": np.array(["a", "ärmel", "b\0", "c" * 99, "d"], object)}


def changes_of(id_type: str, items: int = 5) -> TableChanges:
    embeddings = np.arange(2 * items, dtype=np.float16).reshape(items, 2)
    return TableChanges(IDS[id_type][:items], np.arange(10, 10 + items), embeddings, since=3, version=8)


def table_of(id_type: str, spare: int = 20) -> EmbeddingTable:
    return EmbeddingTable(IDS[id_type][:2], np.full([2, 2], -1.0), version=3, spare=spare)


@pytest.mark.parametrize("id_type", list(IDS))
@pytest.mark.parametrize("items", [0, 1, 5])
def test_a_file_brings_them_to_another_process(tmp_path: Path, id_type: str, items: int) -> None:
    changes, file = changes_of(id_type, items), tmp_path / "changes.arrow"
    changes.save(file)
    loaded = TableChanges.load(file)
    for one, other in zip(loaded[:3], changes[:3], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert loaded[3:] == (3, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["changes.arrow"]
    table = table_of(id_type)
    loaded.apply(table)
    assert int(table.version) == 8


@pytest.mark.parametrize("id_type", list(IDS))
@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
def test_a_table_takes_them_in_parts(monkeypatch: pytest.MonkeyPatch, id_type: str, at_once: int) -> None:
    monkeypatch.setattr(table_changes, "_ITEMS_AT_ONCE", at_once)
    table, changes = table_of(id_type), changes_of(id_type)
    changes.apply(table)
    np.testing.assert_array_equal(table.lookup(tf.constant(changes.item_ids, table.id_dtype)), changes.embeddings)
    assert int(table.version) == 8


def test_a_row_past_the_end_leaves_the_table_as_it_was() -> None:
    table, changes = table_of("int64", spare=12), changes_of("int64")
    with pytest.raises(ValueError, match=r"version 8 has a row 14, and the table ends at 14\."):
        changes.apply(table)
    np.testing.assert_array_equal(table.lookup(tf.constant(IDS["int64"])), [[-1, -1], [-1, -1], [0, 0], [0, 0], [0, 0]])
    assert int(table.version) == 3
