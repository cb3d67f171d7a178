"""Which folders are models, and which versions they have."""

import logging
import os
from pathlib import Path

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.server.version_folders import VersionFolder, find_model_folders, find_versions


def test_integer_versions_are_found_and_nothing_else(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert find_model_folders(models) == [models / "other", models / "ranker"]
    assert "notes is ignored: it has no integer version folder" in caplog.text
    assert find_versions(models / "other") == {3: (3, models / "other" / "0003")}
    assert list(find_versions(models / "ranker")) == [1, 2, 10]


def test_versions_are_compared_as_numbers(tmp_path: Path) -> None:
    for version in ("10", "1", "2", "tmp"):
        (tmp_path / version).mkdir(parents=True)
    assert list(find_versions(tmp_path)) == [1, 2, 10]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"`models` must be an existing folder\. Received: .*nowhere"):
        find_model_folders(tmp_path / "nowhere")


def test_a_folder_without_models_is_told_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ServingError, match=r"checkpoints, config\.yaml\. Export a model there first"):
        find_model_folders(tmp_path)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="nothing"):
        find_model_folders(tmp_path)


def test_the_folder_of_one_model_points_to_the_folder_above(models: Path) -> None:
    with pytest.raises(ServingError, match=f"give the folder above, {models}"):
        find_model_folders(models / "ranker")


def test_a_model_without_versions_has_none(tmp_path: Path) -> None:
    (tmp_path / "2.tmp").mkdir()
    assert find_versions(tmp_path) == {}


def test_a_model_whose_folder_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ranker"):
        find_versions(tmp_path / "ranker")


def test_a_fingerprint_shows_what_comes_goes_or_changes(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    first, second = tmp_path / "saved_model.pb", tmp_path / "variables" / "index"
    first.write_bytes(b"one")
    version = VersionFolder(1, tmp_path)
    seen = [version.fingerprint()]
    assert version.fingerprint() == seen[0]

    second.touch()
    seen.append(version.fingerprint())
    second.write_bytes(b"longer")
    seen.append(version.fingerprint())
    os.utime(second, ns=(0, 0))  # written again, of the same length
    seen.append(version.fingerprint())
    first.unlink()
    seen.append(version.fingerprint())
    assert len(set(seen)) == 5


def test_a_version_that_is_gone_has_the_fingerprint_of_nothing(tmp_path: Path) -> None:
    assert VersionFolder(1, tmp_path / "1").fingerprint() == ()
