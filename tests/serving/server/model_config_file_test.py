"""The file that names models: as TF Serving reads it."""

from pathlib import Path

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.server import ModelConfigFile
from mim_tf.serving.server.model_config import ModelConfig


def read(folder: Path, *models: str) -> dict[str, ModelConfig]:
    path = folder / "models.config"
    path.write_text("model_config_list {" + "".join(f"config {{ {model} }}" for model in models) + "}")
    return ModelConfigFile(path).read()


RANKER = 'name: "ranker" base_path: "/models/ranker" model_platform: "tensorflow" '
FOLDER = Path("/models/ranker")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", ModelConfig("ranker", FOLDER, latest=1)),
        ("model_version_policy { latest {} }", ModelConfig("ranker", FOLDER, latest=1)),
        ("model_version_policy { latest { num_versions: 3 } }", ModelConfig("ranker", FOLDER, latest=3)),
        ("model_version_policy { all {} }", ModelConfig("ranker", FOLDER, latest=None)),
        (
            "model_version_policy { specific { versions: 41 versions: 42 } }",
            ModelConfig("ranker", FOLDER, specific=frozenset({41, 42})),
        ),
        (
            'version_labels { key: "stable" value: 41 } version_labels { key: "canary" value: 42 }',
            ModelConfig("ranker", FOLDER, labels={"stable": 41, "canary": 42}),
        ),
    ],
)
def test_policies_and_labels(tmp_path: Path, more: str, expected: ModelConfig) -> None:
    assert read(tmp_path, RANKER + more) == {"ranker": expected}


def test_models_are_sorted(tmp_path: Path) -> None:
    other = RANKER.replace("ranker", "encoder")
    assert list(read(tmp_path, RANKER, other)) == ["encoder", "ranker"]


@pytest.mark.parametrize(
    ("models", "match"),
    [
        ([], "must list every model once, and at least one. Received: no model"),
        ([RANKER, RANKER], "must list every model once, and at least one. Received: ranker"),
        (['base_path: "/models" model_platform: "tensorflow"'], "must name every model"),
        (['name: "a" base_path: "/a"'], 'must give every model model_platform: "tensorflow". Received: "".'),
        (['name: "a" base_path: "/a" model_platform: "other"'], 'Received: "other"'),
        (['name: "a" base_path: "models/a" model_platform: "tensorflow"'], 'absolute base_path. Received: "models/a"'),
        ([RANKER + "logging_config {}"], 'must use what the stand-in has. Received: logging_config of model "ranker"'),
        ([RANKER + "model_type: TENSORFLOW"], 'Received: model_type of model "ranker"'),
        ([RANKER + "model_version_policy { specific {} }"], "must name the versions of a specific policy"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, models: list[str], match: str) -> None:
    with pytest.raises(ServingError, match=f"models.config {match}" if match.startswith("must") else match):
        read(tmp_path, *models)


def test_a_custom_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("custom_model_config {}")
    with pytest.raises(ServingError, match=r"must hold a model_config_list\. Received: custom_model_config"):
        ModelConfigFile(tmp_path / "models.config").read()
