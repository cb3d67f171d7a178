"""What is served, and what of it a request means: prediction_service_test.py asks by requests."""

from pathlib import Path

import pytest
import tensorflow as tf

from mim_tf.errors import ServingError
from mim_tf.serving.server.model_config import find_models
from mim_tf.serving.server.models import Models
from tests.serving.publishing import exists, publish


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_model_that_fails_to_load_is_named(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "ranker" / "1"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "saved_model.pb").write_bytes(content)
    with pytest.raises(ServingError, match=r'model "ranker" version 1 cannot be loaded from .*Export it again'):
        Models(find_models(tmp_path))


def test_a_model_without_its_variables_fails_to_load(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ranker" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes((models / "ranker" / "10" / "saved_model.pb").read_bytes())
    with pytest.raises(ServingError, match='model "ranker" version 1 cannot be loaded'):
        Models(find_models(tmp_path))


def test_of_models_that_fail_at_the_start_nothing_is_left(folder: Path, new: Path, tables: list[tf.Tensor]) -> None:
    """`another` is loaded before `ranker`, whose version is damaged."""
    (folder.parent / "another").mkdir()
    publish(new, folder.parent / "another" / "1")
    (folder / "1" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ServingError, match='model "ranker" version 1 cannot be loaded'):
        Models(find_models(folder.parent))
    assert [exists(table) for table in tables] == [False]
