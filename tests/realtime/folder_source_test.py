"""The watched folder: every line once, in order, and again after a death that came before it was acknowledged."""

import json
import os
from pathlib import Path

import pytest

from mim_tf.errors import DataError
from mim_tf.realtime import folder_source
from mim_tf.realtime.folder_source import FolderSource


class Incoming:
    """A folder and its reader."""

    def __init__(self, folder: Path):
        self.folder, self.progress = folder / "incoming", folder / "progress.json"
        self.folder.mkdir()
        self.open()

    def open(self) -> None:
        """As a process that starts."""
        self.source = FolderSource(self.folder, self.progress)

    def write(self, name: str, text: str, mode: str = "w") -> None:
        with (self.folder / name).open(mode) as file:
            file.write(text)

    def poll(self, most: int = 100) -> list[str]:
        return [message.payload.decode().strip() for message in self.source.poll(most, 0.0)]


@pytest.fixture
def incoming(tmp_path: Path) -> Incoming:
    return Incoming(tmp_path)


def test_files_in_the_order_of_their_names_and_lines_in_theirs(incoming: Incoming) -> None:
    incoming.write("b.jsonl", "3\n4\n")
    incoming.write("a.jsonl", "1\n\n2\n")
    assert incoming.poll() == ["1", "2", "3", "4"]
    assert incoming.poll() == []
    incoming.write("a.jsonl", "5\n", "a")
    incoming.write("0.jsonl", "6\n")
    assert incoming.poll() == ["6", "5"]


def test_only_whole_lines_count(incoming: Incoming) -> None:
    incoming.write("a.jsonl", '{"a": 1}\n{"b": ')
    assert incoming.poll() == ['{"a": 1}']
    assert incoming.poll() == []
    incoming.write("a.jsonl", "2", "a")
    assert incoming.poll() == []
    incoming.write("a.jsonl", "}", "a")  # a whole object needs no newline
    assert incoming.poll() == ['{"b": 2}']
    incoming.write("a.jsonl", '\n{"c": 3}\n', "a")
    assert incoming.poll() == ['{"c": 3}']


def test_what_was_not_acknowledged_comes_again(incoming: Incoming) -> None:
    incoming.write("a.jsonl", "1\n2\n3\n")
    assert incoming.poll(2) == ["1", "2"]
    incoming.open()
    assert incoming.poll(2) == ["1", "2"]
    incoming.source.acknowledge()
    assert incoming.poll() == ["3"]
    incoming.open()
    assert incoming.poll() == ["3"]


def test_a_file_in_the_place_of_another_is_read_from_its_beginning(incoming: Incoming) -> None:
    incoming.write("a.jsonl", "1\n2\n")
    assert incoming.poll() == ["1", "2"]
    incoming.write("a.tmp", "7\n8\n9\n")
    os.replace(incoming.folder / "a.tmp", incoming.folder / "a.jsonl")
    assert incoming.poll() == ["7", "8", "9"]
    incoming.write("a.jsonl", "5\n")  # cut off and written anew
    assert incoming.poll() == ["5"]


def test_a_file_made_anew_under_its_name_is_read_from_its_beginning(incoming: Incoming) -> None:
    incoming.write("a.jsonl", "1\n2\n")
    assert incoming.poll() == ["1", "2"]
    inode = (incoming.folder / "a.jsonl").stat().st_ino
    with (incoming.folder / "a.jsonl").open("r+") as file:  # the same inode, and longer than what was read
        file.write("3\n4\n5\n")
    assert (incoming.folder / "a.jsonl").stat().st_ino == inode
    assert incoming.poll() == ["3", "4", "5"]


def test_a_file_that_cannot_be_read_holds_no_other_up(incoming: Incoming, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        incoming.write(f"{name}.jsonl", f"{name}\n")
    read = FolderSource._lines_of

    def failing(source: FolderSource, file: os.DirEntry, most: int) -> list:
        if file.name == "b.jsonl":
            raise OSError(5, "Input/output error")
        if file.name == "c.jsonl":
            (incoming.folder / "c.jsonl").unlink(missing_ok=True)
        return read(source, file, most)

    monkeypatch.setattr(FolderSource, "_lines_of", failing)
    assert incoming.poll() == ["a"]
    with pytest.raises(OSError, match="Input/output error"):
        incoming.poll()
    monkeypatch.undo()
    assert incoming.poll() == ["b"]


def test_progress_forgets_files_that_are_gone(incoming: Incoming) -> None:
    incoming.write("a.jsonl", "1\n")
    incoming.write("b.jsonl", "2\n")
    incoming.poll()
    incoming.source.acknowledge()
    (incoming.folder / "a.jsonl").unlink()
    incoming.source.acknowledge()
    assert list(json.loads(incoming.progress.read_text())) == ["b.jsonl"]


def test_other_files_and_folders_are_left_alone(incoming: Incoming, tmp_path: Path) -> None:
    incoming.write("a.json", "1\n")
    incoming.write(".b.jsonl", "2\n")
    (incoming.folder / "c.jsonl").mkdir()
    os.mkfifo(incoming.folder / "d.jsonl")  # opening it would wait for a writer
    assert incoming.poll() == []


def test_lag_is_bytes(incoming: Incoming) -> None:
    incoming.write("a.jsonl", "12345\n789\n")
    assert incoming.source.lag() == 10
    incoming.poll(1)
    assert incoming.source.lag() == 4
    assert incoming.source.drained()


def test_where_a_line_stood(incoming: Incoming) -> None:
    incoming.write("a.jsonl", "1\n22\n3\n")
    assert [message.origin for message in incoming.source.poll(9, 0.0)] == [
        "a.jsonl, byte 0",
        "a.jsonl, byte 2",
        "a.jsonl, byte 5",
    ]


def test_an_endless_line_comes_in_pieces(incoming: Incoming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_source, "_LONGEST_LINE", 4)
    incoming.write("a.jsonl", "123456789\n1\n")
    assert incoming.poll() == ["1234", "5678", "9", "1"]


def test_no_folder_and_a_damaged_progress_file_are_told(incoming: Incoming, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`realtime.source` must be an existing folder.* Received: .*none"):
        FolderSource(tmp_path / "none", incoming.progress)
    incoming.progress.write_text('{"a.jsonl": 3}')
    with pytest.raises(DataError, match=r"progress.json is damaged: .* Delete it to read all events again"):
        incoming.open()
