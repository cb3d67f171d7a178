"""Versions are integers and appear whole."""

import os
from pathlib import Path

import pytest

from mim_tf.export.version_folders import version_folder, version_folders, versions


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


def test_several_get_their_names_in_the_order_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, named, rename = [tmp_path / name for name in ("b", "c", "a")], [], os.rename

    def recorded(old: Path, new: Path) -> None:
        assert all((model / "4.partial" / "part").exists() or (model / "4" / "part").exists() for model in models)
        rename(old, new)
        named.append(new)

    monkeypatch.setattr(os, "rename", recorded)
    with version_folders(models, 4) as folders:
        for folder in folders:
            (folder / "part").touch()
        assert named == []
    assert named == [model / "4" for model in models]


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_all_get_their_names_or_none(tmp_path: Path, taken: int) -> None:
    models = [tmp_path / name for name in ("b", "c", "a")]
    with pytest.raises(OSError, match="not empty"), version_folders(models, 4) as folders:
        _fill_while_another_comes(folders, models[taken] / "4")
    assert [versions(model) for model in models] == [[4] if number == taken else [] for number in range(3)]
    assert [path.name for path in (models[taken] / "4").iterdir()] == ["other"]
    with version_folders(models, 5):
        pass
    assert all(5 in versions(model) for model in models)


def _fill_while_another_comes(folders: list[Path], final: Path) -> None:
    for folder in folders:
        (folder / "part").touch()
    final.mkdir()
    (final / "other").touch()


def _fail_to_write(folder: Path) -> None:
    (folder / "part").touch()
    raise OSError("disk full")
