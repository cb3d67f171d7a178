"""Settings: one YAML file, overrides, and errors that say what to write instead."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from mim_tf.errors import SettingsError
from mim_tf.settings import (
    RankSettings,
    RepresentSettings,
    TextSettings,
    VisionSettings,
    dump_settings,
    load_settings,
    parse_settings,
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("data:\n  items: items.parquet\n  validation_from: 2020-05-01\n")
    return path


def test_defaults_fill_what_the_file_leaves_out(config: Path) -> None:
    settings = load_settings(config)
    assert settings.csft.alpha == settings.csft.beta == 0.5  # the paper's
    assert settings.rank.learning_rate == 0.005
    assert settings.rank.batch_size == 1024


@pytest.mark.parametrize("value", ["2020-05-01", "'2020-05-01T00:00:00+00:00'", "1588291200", "'2020-05-01'"])
def test_a_date_or_seconds_are_the_same_moment(config: Path, value: str) -> None:
    assert load_settings(config, [f"data.validation_from={value}"]).data.validation_from == 1588291200


def test_overrides_replace_the_file(config: Path) -> None:
    settings = load_settings(config, ["rank.ubm=average", "encoders.text.length=9", "data.title=[title, colour]"])
    assert settings.rank.ubm == "average"
    assert settings.encoders.text.length == 9
    assert settings.data.title == ("title", "colour")


def test_what_is_saved_reads_back_as_the_same(config: Path, tmp_path: Path) -> None:
    settings = load_settings(config, ["csft.fusion_units=[32, 16]"])
    saved = tmp_path / "saved.yaml"
    saved.write_text(dump_settings(settings))
    assert load_settings(saved) == settings
    assert yaml.safe_load(saved.read_text())["csft"]["fusion_units"] == [32, 16]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rank.ubn=din", r"`rank\.ubn` is not a setting\. Known here: activation, .*ubm"),
        (
            "rank.features={user_id: {kind: hashed, bin: 8}}",
            r"  `rank\.features\.user_id\.bin` is not a setting\. Known here: bins, dim, kind\.",
        ),
        ("rank.features={user_id: {bins: 8}}", r"  `rank\.features\.user_id\.kind` must be set\."),
        ("ranking.ubm=din", r"`ranking` is not a setting\. Known here: csft, data, encoders"),
        ("encoders.vision.size=64", r"`encoders\.vision\.size` is not a setting\. Known here: image_size, lora_rank"),
        ("rank.epochs=0", r"`rank\.epochs`: .*greater than or equal to 1.*Received: 0"),
        ("csft.temperature=warm", r"`csft\.temperature`: .*valid number.*Received: 'warm'"),
        ("data.items=null", r"`data\.items`: .*Received: None"),
        ("rank.ubm=dine", r"`rank\.ubm`: .*'average', 'bst', 'dien', 'din', 'sim' or 'twin'.*Received: 'dine'"),
        ("data.validation_from=7.4.2025", r"`data\.validation_from`: .*must be a date as 2025-04-07"),
        (
            "rank={strategy: parameter_server, embeddings: encoder}",
            r"`rank`: `embeddings: encoder` reads images in the process that trains.*set `strategy` to one_device",
        ),
        ("realtime.tls={key: client.key}", r"`realtime\.tls`: `certificate` and `key` must be given together"),
        ("data.cache=/tmp/cache", r"`data`: `cache` is for record files in an object store: set `records` too"),
        ("rank.replay={W1: 0}", r"`rank\.replay\.W1`: .*greater than 0.*Received: 0"),
        ("rank.replay={W1: 1.5}", r"`rank\.replay\.W1`: .*less than or equal to 1.*Received: 1\.5"),
        ("rank.ubm", r"--set must be section\.key=value\. Received: 'rank\.ubm'"),
        ("data.items.path=x", r"--set data\.items\.path: 'items' is a value, not a section"),
        ("rank.ubm=[", r"--set rank\.ubm: the value is not valid YAML"),
    ],
)
def test_a_wrong_override_is_told(config: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(config, [override])


def test_a_cache_of_each_machine_is_refused_where_others_read(config: Path) -> None:
    elsewhere = ["data.records=s3://bucket/records", "data.cache=/tmp/cache"]
    assert load_settings(config, elsewhere).data.cache == "/tmp/cache"
    with pytest.raises(SettingsError, match=r"`data\.cache` is filled by the process that reads, which a parameter"):
        load_settings(config, [*elsewhere, "rank.strategy=parameter_server"])


def test_all_wrong_settings_are_told_at_once(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"(?s)2 wrong setting\(s\).*rank\.epochs.*seeds"):
        load_settings(config, ["rank.epochs=0", "seeds=1"])


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the settings file .*none\.yaml: No such file"):
        load_settings(tmp_path / "none.yaml")


@pytest.mark.parametrize(("text", "message"), [("- 1\n", "mapping"), ("a: [", "not valid YAML"), ("7", "mapping")])
def test_a_file_that_is_no_mapping_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings(path)


def test_names_in_the_settings_are_those_of_the_models() -> None:
    from mim_tf.encoders import TEXT_ENCODERS, TEXT_FAMILIES, VISION_ENCODERS, VISION_FAMILIES
    from mim_tf.interest import UBMS
    from mim_tf.representation.row_precision import ROW_DTYPES

    for section, field, known in (
        (VisionSettings, "name", {**VISION_ENCODERS, **VISION_FAMILIES}),
        (TextSettings, "name", {**TEXT_ENCODERS, **TEXT_FAMILIES}),
        (RankSettings, "ubm", UBMS),
        (RepresentSettings, "rows", ROW_DTYPES),
    ):
        assert set(get_args(section.model_fields[field].annotation)) == set(known)


FEATURES = "data.item_features=[colour]"


def test_features_name_columns_that_are_kept(config: Path) -> None:
    settings = load_settings(config, [FEATURES, "rank.features={colour: {kind: vocabulary, dim: 4}}"])
    assert settings.rank.features["colour"].kind == "vocabulary"
    with pytest.raises(SettingsError, match=r"must name columns .*, colour, item_age, user_id\. Received: size"):
        load_settings(config, [FEATURES, "rank.features={size: {kind: numeric}}"])
    with pytest.raises(SettingsError, match=r"colour.*'hashed', 'vocabulary', 'bucketised', 'numeric'"):
        load_settings(config, [FEATURES, "rank.features={colour: {kind: text}}"])


def test_a_principal_projection_needs_a_pretrained_backbone(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"`projection: principal` is for pre-trained backbones"):
        load_settings(config, ["encoders.text.projection=principal"])


def test_queries_want_items_where_they_were(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"`rank\.query` .* which `represent\.centre` moves"):
        load_settings(config, ["rank.query=true"])
    assert load_settings(config, ["rank.query=true", "represent.centre=false"]).rank.query


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[5, 3]", r"`csft\.profile`: .*must be a first and a last step, in this order\. Received: \[5, 3\]"),
        ("[-1, 3]", r"`csft\.profile\.0`: Input should be greater than or equal to 0"),
        ("[3]", r"`csft\.profile\.1` must be set"),
    ],
)
def test_steps_that_are_traced_are_a_range(config: Path, steps: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(config, [f"csft.profile={steps}"])
    assert load_settings(config, ["csft.profile=[3, 3]"]).csft.profile == (3, 3)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            {"epochz": 8},
            r"`experiment\.ubms\.bst` must be settings of `rank`: `epochz` is not a setting\. Known here: activation,",
        ),
        ({"epochs": 0}, r"`experiment\.ubms\.bst` must be settings of `rank`: `epochs`"),
        (
            {"base": False, "seeds": 3},
            r"`experiment\.ubms\.bst` must leave out what is compared\. Received: base, seeds",
        ),
    ],
)
def test_behaviour_models_own_settings_are_checked(own: dict[str, object], message: str) -> None:
    tree = {"data": {"items": "items.parquet"}, "experiment": {"ubms": {"bst": own}}}
    with pytest.raises(SettingsError, match=message):
        parse_settings(tree, source="test")
