"""The workspace inside the process: its options, its memory, and a disk that is full."""

from pathlib import Path

import ibis
import pytest

from mim_tf.data.workspace import open_workspace
from mim_tf.engine import Engine
from mim_tf.errors import SettingsError, StageError


def setting(folder: Path, name: str, **options: str) -> str:
    with open_workspace(folder, Engine("local", options)) as workspace:
        return str(workspace.connection.raw_sql(f"SELECT current_setting('{name}')").fetchone()[0])


def test_options_are_settings_of_duckdb(tmp_path: Path) -> None:
    assert setting(tmp_path, "threads", threads="3") == "3"
    assert setting(tmp_path, "memory_limit", memory_limit="5GiB") == "5.0 GiB"


def test_by_default_memory_is_a_gigabyte_per_core_and_at_least_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cores, gigabytes in ((1, 2), (2, 2), (16, 16)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert float(setting(tmp_path, "memory_limit").removesuffix(" GiB")) == pytest.approx(
            gigabytes * 1e9 / 2**30, abs=0.1
        )


@pytest.mark.parametrize(("option", "value"), [("nosuch_setting", "1"), ("memory_limit", "lots"), ("threads", "many")])
def test_an_option_that_duckdb_does_not_take_is_named(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"must be a setting of DuckDB\. Received: .*({option}|{value}|Memory must)"
    ):
        open_workspace(tmp_path, Engine("local", {option: value}))
    assert list(tmp_path.iterdir()) == []


def sort_digests(folder: Path, **options: str) -> None:
    with open_workspace(folder, Engine("local", options)) as workspace:
        numbers = ibis.range(1_000_000).unnest().name("number").as_table()
        digests = numbers.mutate(digest=numbers.number.cast("string").hexdigest("md5"))
        workspace.keep(digests.order_by("digest"))  # 50 MB


def test_where_memory_ends_the_folder_is_named_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=rf"`{tmp_path}` must have room for .*Received: Out of Memory Error: "):
        sort_digests(tmp_path, memory_limit="20MB", max_temp_directory_size="1MB", threads="1")
    assert list(tmp_path.iterdir()) == []


def fail(folder: Path) -> None:
    with open_workspace(folder) as workspace:
        workspace.connection.raw_sql("SELECT error('broken\nand more')")


def test_what_the_engine_cannot_do_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"^The engine must come to the end of its work\. Received: .*broken and more$"
    ):
        fail(tmp_path)
