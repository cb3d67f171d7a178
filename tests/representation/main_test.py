"""The commands as users see them: their text, their JSON, and the sentences they end with."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pytest

from mim_tf.commandline import run_command
from mim_tf.representation import EmbeddingStore
from mim_tf.representation.__main__ import main
from mim_tf.representation.neighbours import Neighbour
from mim_tf.representation.reports import neighbours_text, size_text

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    """Versions 2 and 3, tagged `old` and `new`: items 1 to 4, then item 2 turns by 90 degrees and 5 comes."""
    store = EmbeddingStore.create(tmp_path / "store.lance", id_type="int64", dim=2, slots=2)
    store.upsert(np.array([1, 2, 3, 4]), np.array([[1, 0], [0, 1], [3, 4], [-1, 0]]), encoder="e1")
    store.upsert(np.array([2, 5]), np.array([[1, 0], [0, 2]]), encoder="e1")
    store.tag("old", 2)
    store.tag("new", 3)
    return store


def values(text: str) -> dict[str, str]:
    """What stands behind each label."""
    return dict(line.split("  ", 1) for line in text.splitlines() if "  " in line.strip())


def shown(capsys: Capture, *arguments: str) -> str:
    main(arguments)
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_inspect_tells_what_there_is(store: EmbeddingStore, capsys: Capture) -> None:
    lines = {label: value.strip() for label, value in values(shown(capsys, "inspect", store.path)).items()}
    assert lines["store"] == store.path
    assert lines["encoder"] == "e1"
    assert (lines["items"], lines["dimension"], lines["slots"], lines["versions"]) == ("5", "2", "2", "3")
    assert lines["rows let go"] == "1, none of them free; older versions need the rest"
    assert lines["tags"] == "old (version 2), new (version 3)"
    assert lines["length"].split() == ["2.000", "1.000", "1.000", "1.000", "4.880", "5.000"]


def test_inspect_lines_up(store: EmbeddingStore, capsys: Capture) -> None:
    facts, table = shown(capsys, "inspect", store.path, "--shards", "2").rsplit("\n\n", 1)
    starts = {line.index(line.split("  ", 1)[1].lstrip()) for line in facts.splitlines() if line}
    assert len(starts) == 1
    assert len({len(line) for line in table.splitlines()}) == 1
    assert "items in 2 shards" in facts


def test_inspect_in_json_is_one_object(store: EmbeddingStore, capsys: Capture) -> None:
    found = json.loads(shown(capsys, "inspect", store.path, "--json", "--shards", "1"))
    assert (found["items"], found["tags"], found["rows_let_go"]) == (5, {"old": 2, "new": 3}, 1)
    assert found["shard_items"] == {"mean": 5, "min": 5, "max": 5}
    assert found["lengths"]["mean"] == 2


def test_an_empty_store_can_be_inspected(tmp_path: Path, capsys: Capture) -> None:
    EmbeddingStore.create(tmp_path / "s", id_type="int64", dim=2)
    text = shown(capsys, "inspect", str(tmp_path / "s"))
    assert "none yet" in text
    assert "cosine" not in text


def test_diff(store: EmbeddingStore, capsys: Capture) -> None:
    text = shown(capsys, "diff", store.path, "--since", "2")
    lines = values(text)
    assert lines["new"].strip() == "1"
    assert lines["changed"].strip() == "1, 25.00% of those there were"
    assert "new items\n  5\n" in text
    assert text.endswith("changed items that turned furthest: cosine, item\n   0.0000  2\n")
    assert "\n  5\n" not in shown(capsys, "diff", store.path, "--since", "2", "--show", "0")
    found = json.loads(shown(capsys, "diff", store.path, "--since", "1", "--to", "2", "--json"))
    assert (found["new"], sorted(found["new_items"]), found["changed"]) == (4, [1, 2, 3, 4], 0)


def test_looking_changes_nothing(store: EmbeddingStore, capsys: Capture) -> None:
    files = sorted(Path(store.path).rglob("*"))
    for arguments in (["inspect", store.path], ["diff", store.path, "--since", "2"]):
        shown(capsys, *arguments)
    shown(capsys, "neighbours", store.path, "--item", "1")
    assert sorted(Path(store.path).rglob("*")) == files


def test_neighbours_with_their_titles(store: EmbeddingStore, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n1,The asked\n3,A  cup\n2,Its double\n")
    text = shown(
        capsys, "neighbours", store.path, "--item", "1", "--count", "3", "--titles", str(tmp_path / "items.csv")
    )
    assert text == (
        "nearest to 1: The asked\n\n cosine  item  title\n 1.0000  2     Its double\n 0.6000  3     A cup\n 0.0000  5\n"
    )
    assert shown(capsys, "neighbours", store.path, "--item", "4", "--count", "1").endswith("\n 0.0000  5\n")


def test_a_cosine_that_rounds_to_zero_has_no_sign() -> None:
    assert neighbours_text(1, [Neighbour(2, -1e-9)], {}) == "nearest to 1\n\n cosine  item\n 0.0000  2"


def test_neighbours_by_names(tmp_path: Path, capsys: Capture) -> None:
    store = EmbeddingStore.create(tmp_path / "s", id_type="string", dim=1)
    store.upsert(np.array(["7", "x-long-name"], object), np.array([[1], [-2]]), encoder="e")
    text = shown(capsys, "neighbours", str(tmp_path / "s"), "--item", "7")
    assert text == "nearest to 7\n\n cosine  item\n-1.0000  x-long-name\n"


def test_compact_frees_what_its_tags_no_longer_keep(store: EmbeddingStore, capsys: Capture) -> None:
    before = sum(file.stat().st_size for file in Path(store.path).rglob("*") if file.is_file())
    lines = values(shown(capsys, "compact", store.path, "--keep", "1", "--untag", "old", "--untag", "new"))
    lines = {label: value.strip() for label, value in lines.items()}
    assert lines["untagged"] == "old (version 2), new (version 3)"
    assert lines["versions"] == f"1, {store.version}"
    assert lines["tags"] == "none"
    assert lines["rows let go"] == "1, 1 of them free for new items"
    now = [file.stat().st_size for file in Path(store.path).rglob("*") if file.is_file()]
    assert lines["on disk"] == f"{size_text(sum(now))} in {len(now)} files; before, {size_text(before)}"
    assert store.versions == [store.version]


def test_a_tag_keeps_its_version_and_the_rows_it_needs(store: EmbeddingStore, capsys: Capture) -> None:
    lines = values(shown(capsys, "compact", store.path, "--keep", "1", "--untag", "new"))
    assert lines["tags"].strip() == "old (version 2)"
    assert lines["rows let go"].strip() == "1, none of them free; older versions need the rest"
    assert 2 in store.versions
    assert 3 not in store.versions


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        ("7d", timedelta(days=7)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("99999d", timedelta(days=99999)),
    ],
)
def test_ages(
    store: EmbeddingStore, capsys: Capture, monkeypatch: pytest.MonkeyPatch, age: str, expected: timedelta
) -> None:
    asked: list[timedelta | None] = []
    compact = EmbeddingStore.compact

    def noted(self: EmbeddingStore, *, keep_versions: int | None = None, older_than: timedelta | None = None) -> int:
        asked.append(older_than)
        return compact(self, keep_versions=keep_versions, older_than=older_than)

    monkeypatch.setattr(EmbeddingStore, "compact", noted)
    shown(capsys, "compact", store.path, "--older-than", age)
    assert asked == [expected]
    assert {1, 2, 3} <= set(store.versions)  # all are younger


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("inspect NOWHERE", r"NOWHERE is no embedding store"),
        ("inspect STORE --shards 3", r"--shards must be 1 to 2, the store's slots. Received: 3."),
        ("inspect STORE --shards 0", r"--shards must be 1 to 2, the store's slots. Received: 0."),
        ("diff STORE --since 9", r"Version 9 of STORE does not exist."),
        ("diff STORE --since 2 --to 9", r"Version 9 of STORE does not exist."),
        ("diff STORE --since 3 --to 2", r"--to must be at least 3. Received: 2."),
        ("diff STORE --since 2 --show -1", r"--show must be at least 0. Received: -1."),
        ("compact STORE --keep 0", r"--keep must be at least 1. Received: 0."),
        ("compact STORE --keep 1 --untag old none", r"STORE has no tag 'none'. There are: old, new."),
        ("compact STORE --older-than 7", r"--older-than must be a number from 1 to 99999 and d (days), h (hours) or m"),
        ("compact STORE --older-than 0d", r"as in 7d. Received: 0d."),
        ("compact STORE --older-than -7d", r"expected one argument"),
        ("compact STORE --older-than=-7d", r"as in 7d. Received: -7d."),
        ("compact STORE --older-than 7w", r"as in 7d. Received: 7w."),
        ("compact STORE --older-than ٧d", r"as in 7d. Received: ٧d."),
        ("neighbours STORE --item 77", r"STORE has no item 77 in version 3."),
        ("neighbours STORE --item 99999999999999999999", r"STORE has no item 99999999999999999999 in version 3."),
        ("neighbours STORE --item x", r"--item must be an integer, as all ids of this store are. Received: x."),
        ("neighbours STORE --item 1 --count 0", r"--count must be at least 1. Received: 0."),
        ("neighbours STORE --item 1 --titles NOWHERE.csv", r"NOWHERE.csv: there is no such file."),
    ],
)
def test_what_is_wrong_is_one_sentence(store: EmbeddingStore, capsys: Capture, arguments: str, message: str) -> None:
    words = [word.replace("STORE", store.path).replace("NOWHERE", store.path + "-") for word in arguments.split()]
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main(words))
    printed = capsys.readouterr()
    assert message.replace("STORE", store.path).replace("NOWHERE", store.path + "-") in printed.err
    if not message.startswith("expected"):  # the parser's own words are more, and end with code 2
        assert ended.value.code == 1
        assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert store.tags == {"old": 2, "new": 3}
    assert lance.dataset(store.path).version == 3


def test_help_names_the_commands_and_the_units(capsys: Capture) -> None:
    for arguments, told in ([[], "neighbours"], [["compact"], "(days, hours, minutes)"], [["diff"], "(10)"]):
        with pytest.raises(SystemExit, match="0"):
            main([*arguments, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert told in text
        assert f"python -m mim_tf.representation {' '.join(arguments)}".rstrip() in text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (4.2e15, "4200.0 TB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text


def test_it_runs_as_a_module(store: EmbeddingStore) -> None:
    command = [sys.executable, "-m", "mim_tf.representation", "inspect", store.path, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)["items"] == 5
