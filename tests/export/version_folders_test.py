"""Versions are integers and appear whole."""

from pathlib import Path

import pytest

from mim_tf.export.version_folders import version_folder, versions


def test_versions_are_the_integers_in_their_order(tmp_path: Path) -> None:
    for name in ("10", "9", "9.partial", "tmp", "-3"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == [9, 10]
    assert versions(tmp_path / "nowhere") == []


def test_a_version_has_no_number_until_it_is_whole(tmp_path: Path) -> None:
    with version_folder(tmp_path / "model", 3) as folder:
        (folder / "saved_model.pb").touch()
        assert versions(tmp_path / "model") == []
    assert versions(tmp_path / "model") == [3]
    assert [path.name for path in (tmp_path / "model" / "3").iterdir()] == ["saved_model.pb"]


def test_what_fails_gets_no_number_and_is_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"), version_folder(tmp_path, 1) as folder:
        _fail_to_write(folder)
    assert versions(tmp_path) == []
    with version_folder(tmp_path, 1) as folder:
        assert not list(folder.iterdir())


def _fail_to_write(folder: Path) -> None:
    (folder / "part").touch()
    raise OSError("disk full")
