"""The click models that settings describe: every ablation of both variants, features, and what is refused."""

from typing import Any

import pytest
import tensorflow as tf

from mim_tf.data.column_statistics import ColumnStatistics
from mim_tf.data.feature_statistics import FeatureStatistics
from mim_tf.data.record_schema import RecordSchema
from mim_tf.errors import SettingsError
from mim_tf.settings import Settings, parse_settings
from mim_tf.training.rankers import VARIANTS, build_network, feature_layer, one_row

NUMBERS = ColumnStatistics("float", 4, 2.0, 1.0, tuple(float(part) for part in range(1001)), (), ())
NAMES = ColumnStatistics("string", 3, 0.0, 0.0, (), ("red", "blue"), (2, 1))
DIM = 8


def settings(**rank: Any) -> Settings:
    tree = {
        "data": {"items": "items.parquet", "item_features": ["colour"], "impression_features": ["age"]},
        "encoders": {"dim": DIM},
        "represent": {"centre": False},
        "rank": {"hash_bins": 16, "tower_units": [4], **rank},
    }
    return parse_settings(tree, "test")


def network(variant: str = "model", query_dim: int | None = None, **rank: Any) -> Any:
    features = {"item_colour": "string", "history_colour": "string", "age": "float32", "item_age": "int64"}
    schema = RecordSchema("int64", "string", 5, {}, {}, features, query_dim)
    statistics = FeatureStatistics({"colour": NAMES}, {"age": NUMBERS, "item_age": NUMBERS})
    built = build_network(settings(**rank), schema, statistics, variant)
    contents = {"item_content": tf.zeros([1, DIM]), "history_content": tf.zeros([1, 0, DIM])}
    assert built(one_row(schema) | contents).shape == (1,)
    return built


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("module", ["id_interest", "content", "fusion"])
def test_each_module_can_be_left_out(module: str, variant: str) -> None:
    interest = network(variant, **{module: False}).interest
    with_content = variant == "model"
    assert (interest.id_interest is not None) == (module != "id_interest" or not with_content)
    assert interest.content == (with_content and module != "content")
    assert interest.fusion == (with_content and module != "fusion")


def test_the_behaviour_models_sizes_are_settings() -> None:
    ubm = network(ubm="twin", ubm_options={"top_k": 7, "heads": 3}).interest.id_interest
    assert (ubm.top_k, ubm.heads, ubm.key_dim) == (7, 3, 16)
    assert network(ubm="din", ubm_options={"hidden_units": [5]}).interest.id_interest.hidden_units == (5,)


@pytest.mark.parametrize(
    ("ubm", "options", "message"),
    [
        (
            "din",
            {"heads": 2},
            r"^`rank\.ubm_options` must be arguments of din: hidden_units, activation\. Received: heads\.",
        ),
        ("average", {"top_k": 2}, r"must be arguments of average: it has none\. Received: top_k\."),
        ("sim", {"kwargs": 2}, r"must be arguments of sim: .*\. Received: kwargs\."),
        ("sim", {"search": "fast"}, r"`rank\.ubm_options`: `search` must be one of"),
        ("twin", {"top_k": "many"}, r"`rank\.ubm_options`: `top_k` must be an integer .*'many'"),
        ("bst", {"heads": 0}, r"`rank\.ubm_options`: `heads` must be an integer of at least 1\. Received: 0\."),
    ],
)
def test_sizes_that_the_model_does_not_have(ubm: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        network(ubm=ubm, ubm_options=options)


def test_features_by_name() -> None:
    wanted = {
        "colour": {"kind": "vocabulary"},
        "age": {"kind": "numeric"},
        "user_id": {"kind": "hashed"},
        "item_age": {"kind": "bucketised"},
    }
    assert {"item_colour", "history_colour", "age", "user_id", "item_age"} <= set(network(features=wanted).fields)
    assert "item_colour" not in network().fields


def test_queries() -> None:
    assert "query_embedding" in network(query_dim=DIM, query=True).fields
    assert "query_embedding" not in network("base", query_dim=DIM, query=True).fields
    assert "query_embedding" not in network(query_dim=DIM).fields
    for dim, received in ((DIM + 1, "9"), (None, "no such column")):
        with pytest.raises(SettingsError, match=rf"`query_embedding` of 8 numbers.*Received: {received}\."):
            network(query_dim=dim, query=True)


@pytest.mark.parametrize(
    ("kind", "statistics", "message"),
    [
        ("hashed", NUMBERS, r"`rank\.features\.x`: a hashed feature must be int64 or string\. Received: float\."),
        ("vocabulary", NUMBERS, r"a vocabulary feature must be int64 or string\. Received: float\."),
        ("vocabulary", None, r"`rank\.features\.x` must be hashed\. Received: vocabulary"),
        ("numeric", NAMES, r"a numeric feature must be int64 or float\. Received: string\."),
        ("bucketised", NAMES, r"a bucketised feature must be int64 or float\. Received: string\."),
    ],
)
def test_a_kind_that_does_not_fit_the_column(kind: str, statistics: ColumnStatistics | None, message: str) -> None:
    options = settings(features={"age": {"kind": kind}}).rank.features["age"]
    with pytest.raises(SettingsError, match=message):
        feature_layer("x", options, statistics)


def test_a_vocabulary_without_values() -> None:
    options = settings(features={"age": {"kind": "vocabulary"}}).rank.features["age"]
    empty = ColumnStatistics("string", 3, 0.0, 0.0, (), (), ())
    with pytest.raises(SettingsError, match=r"a vocabulary feature must hold values\. Received: none but missing ones"):
        feature_layer("x", options, empty)
