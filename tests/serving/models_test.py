"""What is served, and what of it a request means: prediction_service_test.py asks by requests."""

from pathlib import Path

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.models import Models


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
