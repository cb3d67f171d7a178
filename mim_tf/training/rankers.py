"""The click models that settings describe, with the tables and columns they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import tensorflow as tf
from tensorflow import keras

from mim_tf.data.column_statistics import ColumnStatistics
from mim_tf.data.feature_statistics import FeatureStatistics
from mim_tf.data.record_schema import RecordSchema
from mim_tf.errors import SettingsError
from mim_tf.ranking import (
    BucketisedEmbedding,
    DeepCTR,
    HashedEmbedding,
    Ranker,
    RankingNetwork,
    Standardised,
    VocabularyEmbedding,
)
from mim_tf.ranking.ranker import ContentTable
from mim_tf.settings import (
    ALWAYS_THERE,
    BucketisedSettings,
    FeatureSettings,
    HashedSettings,
    Settings,
    VocabularySettings,
)
from mim_tf.training.behaviour_model import behaviour_model
from mim_tf.training.earlier_run import network_statistics
from mim_tf.training.encoded_items import EncodedItems
from mim_tf.training.models import records_folder
from mim_tf.training.tables import load_table
from mim_tf.workdir import StageFolder

# The stage's two models: the one asked for, and the same without content, which it is compared with.
VARIANTS = ("model", "base")


def variants_of(settings: Settings) -> tuple[str, ...]:
    """The models that the stage trains with each seed."""
    return VARIANTS if settings.rank.base else VARIANTS[:1]


def build_ranker(
    settings: Settings,
    workdir: Path,
    variant: str,
    strategy: tf.distribute.Strategy | None = None,
    *,
    version: int | None = None,
    spare: float | None = None,
    table: ContentTable | None = None,
) -> Ranker:
    """A ranker with fresh weights and, where it uses content, what the finished `represent` stage gives for it.

    Args:
        settings: of the run.
        workdir: its folder.
        variant: one of `VARIANTS`.
        strategy: that it is to be trained under; None for the one whose scope this is called in.
        version: as in `load_table`.
        spare: as in `load_table`.
        table: what gives contents, in place of what the stage gives.

    Raises:
        SettingsError: settings that leave nothing to learn from, or features that the records do not have.
        DataError: the table cannot be made.
    """
    records = records_folder(StageFolder(workdir, "prepare"))
    schema = RecordSchema.load(records)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        network = build_network(settings, schema, network_statistics(settings, workdir), variant)
    if network.uses_content and table is None:
        table = content_table(settings, workdir, strategy, version, spare)
    ranker = Ranker(network, table, settings.rank.negatives_kept)
    with strategy.scope():
        ranker.logits(one_row(schema))  # creates the weights
    return ranker


def reads_table(settings: Settings, variant: str) -> bool:
    """Whether a variant's ranker has the table of the `represent` stage."""
    options = settings.rank
    uses_content = variant == "model" and (options.content or options.fusion or options.query)
    return uses_content and options.embeddings == "table"


def content_table(
    settings: Settings,
    workdir: Path,
    strategy: tf.distribute.Strategy,
    version: int | None = None,
    spare: float | None = None,
) -> ContentTable:
    """The table of the finished `represent` stage, or its encoder, as `rank.embeddings` says.

    Args:
        settings: of the run.
        workdir: its folder.
        strategy: that it is to be used under.
        version: as in `load_table`.
        spare: as in `load_table`.

    Raises:
        StageError: the stage left no encoder that runs here.
        DataError: the table cannot be made, or the records are damaged.
    """
    if settings.rank.embeddings == "table":
        return load_table(settings, workdir, strategy, version=version, spare=spare)
    records = records_folder(StageFolder(workdir, "prepare"))
    learning = settings.rank.embeddings == "end_to_end"
    with strategy.scope():
        return EncodedItems(StageFolder(workdir, "represent"), records, learning=learning)


def one_row(schema: RecordSchema) -> dict[str, tf.Tensor]:
    """An impression without a history."""
    shapes = {"query_embedding": [1, schema.query_dim]}
    return {
        name: tf.zeros(shapes.get(name, [1, 0] if name.startswith("history_") else [1]), dtype)
        for name, dtype in schema.fields("impressions").items()
    }


def build_network(
    settings: Settings, schema: RecordSchema, statistics: FeatureStatistics, variant: str
) -> RankingNetwork:
    """The click network that settings describe, for records with such fields and features.

    Raises:
        SettingsError: settings that do not fit each other or the records.
    """
    options, columns = settings.rank, settings.data
    with_content = variant == "model"
    if options.query and schema.query_dim != settings.encoders.dim:
        raise SettingsError(
            f"`rank.query`: impressions must have a column `query_embedding` of {settings.encoders.dim} numbers, as "
            f"`encoders.dim` is. Received: {schema.query_dim or 'no such column'}."
        )
    try:
        return RankingNetwork(
            behaviour_model(options) if options.id_interest or not with_content else None,  # the base has nothing else
            content=options.content and with_content,
            fusion=options.fusion and with_content,
            query=options.query and with_content,
            item_dim=options.item_dim,
            category_dim=options.category_dim,
            hash_bins=options.hash_bins,
            item_features=_layers(options.features, columns.item_features, statistics.items),
            impression_features=_layers(
                options.features, (*columns.impression_features, *ALWAYS_THERE), statistics.impressions
            ),
            tower=DeepCTR(options.tower_units, options.activation, options.cross_layers, options.dropout, name="tower"),
        )
    except SettingsError:  # names its setting itself
        raise
    except ValueError as error:
        raise SettingsError(f"rank: {error}") from error


def _layers(
    wanted: Mapping[str, FeatureSettings], columns: Iterable[str], statistics: Mapping[str, ColumnStatistics]
) -> dict[str, keras.layers.Layer]:
    """A layer for each column that is wanted as a feature."""
    return {name: feature_layer(name, wanted[name], statistics.get(name)) for name in columns if name in wanted}


def feature_layer(name: str, options: FeatureSettings, statistics: ColumnStatistics | None) -> keras.layers.Layer:
    """The layer that embeds a column.

    Args:
        name: of the column.
        options: what kind of feature it is.
        statistics: of the column; users' ids have none, and can only be hashed.

    Raises:
        SettingsError: the column is of a type that this kind of feature is not for, or has no values.
    """
    layer_name = f"feature_{name}"
    if statistics is None:
        if not isinstance(options, HashedSettings):
            raise SettingsError(f"`rank.features.{name}` must be hashed. Received: {options.kind}.")
        return HashedEmbedding(options.bins, options.dim, name=layer_name)
    if isinstance(options, HashedSettings | VocabularySettings):
        _check(name, options, statistics.kind != "float", "must be int64 or string", statistics.kind)
    else:
        _check(name, options, statistics.kind != "string", "must be int64 or float", statistics.kind)
    if isinstance(options, HashedSettings):
        return HashedEmbedding(options.bins, options.dim, name=layer_name)
    if isinstance(options, VocabularySettings):
        _check(name, options, bool(statistics.vocabulary), "must hold values", "none but missing ones")
        return VocabularyEmbedding(statistics.vocabulary[: options.size], options.dim, name=layer_name)
    if isinstance(options, BucketisedSettings):
        return BucketisedEmbedding(statistics.boundaries(options.buckets), options.dim, name=layer_name)
    return Standardised(statistics.mean, statistics.deviation, name=layer_name)


def _check(name: str, options: FeatureSettings, fits: bool, rule: str, received: str) -> None:
    if not fits:
        raise SettingsError(f"`rank.features.{name}`: a {options.kind} feature {rule}. Received: {received}.")
