"""Which of the versions that are there are wanted."""

from pathlib import Path

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.server.model_config import ModelConfig, find_models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Versions 3, 5, 8 and 13."""
    for version in ("0013", "3", "5", "8", "9.tmp"):
        (tmp_path / "ranker" / version).mkdir(parents=True)
    return tmp_path / "ranker"


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ({}, [13]),
        ({"latest": 2}, [8, 13]),
        ({"latest": 9}, [3, 5, 8, 13]),
        ({"latest": None}, [3, 5, 8, 13]),
        ({"specific": frozenset({8, 3})}, [3, 8]),
        ({"specific": frozenset({8, 9})}, [8]),
    ],
)
def test_the_policy_chooses(folder: Path, policy: dict, versions: list[int]) -> None:
    wanted = ModelConfig("ranker", folder, **policy).wanted()
    assert list(wanted) == versions
    assert all(int(found.path.name) == version for version, found in wanted.items())


@pytest.mark.parametrize(
    ("policy", "match"),
    [
        ({"specific": frozenset({8, 9, 10})}, 'model "ranker" must have version 9 in .*ranker. Export it there first'),
        ({"specific": frozenset({99})}, "must have version 99"),
    ],
)
def test_at_the_start_all_specific_versions_are_there(folder: Path, policy: dict, match: str) -> None:
    with pytest.raises(ServingError, match=match):
        ModelConfig("ranker", folder, **policy).wanted_at_start()


def test_at_the_start_there_is_a_version(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match='model "ranker" must have a version in'):
        ModelConfig("ranker", tmp_path).wanted_at_start()
    with pytest.raises(ServingError, match=r'model "ranker": its folder cannot be read: .*nowhere'):
        ModelConfig("ranker", tmp_path / "nowhere").wanted_at_start()


def test_the_models_of_a_folder_are_named_by_their_folders(folder: Path) -> None:
    assert find_models(folder.parent) == {"ranker": ModelConfig("ranker", folder)}
