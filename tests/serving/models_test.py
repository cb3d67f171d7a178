"""Which folders are models, and which of their versions is served."""

import logging
from pathlib import Path

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.models import Models, find_models


def test_the_highest_integer_version_is_found_and_nothing_else(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert find_models(models) == {"other": (3, "0003"), "ranker": (10, "10")}
    assert "notes is ignored: it has no integer version folder" in caplog.text


def test_versions_are_compared_as_numbers(tmp_path: Path) -> None:
    for version in ("1", "2", "10", "tmp"):
        (tmp_path / "ranker" / version).mkdir(parents=True)
    assert find_models(tmp_path) == {"ranker": (10, "10")}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"`models` must be an existing folder\. Received: .*nowhere"):
        find_models(tmp_path / "nowhere")


def test_a_folder_without_models_is_told_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ServingError, match=r"checkpoints, config\.yaml\. Export a model there first"):
        find_models(tmp_path)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="nothing"):
        find_models(tmp_path)


def test_the_folder_of_one_model_points_to_the_folder_above(models: Path) -> None:
    with pytest.raises(ServingError, match=f"give the folder above, {models}"):
        find_models(models / "ranker")


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_model_that_fails_to_load_is_named(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "ranker" / "1"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "saved_model.pb").write_bytes(content)
    with pytest.raises(ServingError, match=r'model "ranker" version 1 cannot be loaded from .*Export it again'):
        Models(tmp_path)


def test_a_model_without_its_variables_fails_to_load(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ranker" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes((models / "ranker" / "10" / "saved_model.pb").read_bytes())
    with pytest.raises(ServingError, match='model "ranker" version 1 cannot be loaded'):
        Models(tmp_path)
