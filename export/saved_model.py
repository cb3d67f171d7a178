"""A ranker as a SavedModel of stock TensorFlow ops, with the embedding table inside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from mim_tf.ranking import Ranker, VocabularyEmbedding
from mim_tf.workdir import fresh_folder_aside


def export_ranker(ranker: Ranker, folder: Path, *, dtypes: Mapping[str, tf.DType]) -> Path:
    """Write the next version of a model.

    The SavedModel has one signature, `predict`, which is also the default one. Its inputs are `ranker.fields`, as
    `mim_tf.ranking.RankingNetwork.fields` describes them, above all

        item_id           [batch]          target items
        category          [batch]          string, their categories
        history_item_id   [batch, length]  the user's behaviours, oldest first, padded at the end with -1 or ""
        history_category  [batch, length]  string, their categories, padded with ""
        -> probability    [batch]          float32 click probabilities

    An unknown item has a zero embedding and takes no part in content and fusion interest. Nothing large is a
    constant of the graph: table and weights are among the variables.

    Args:
        ranker: network, weights and table.
        folder: of the model; its versions are folders named by integers.
        dtypes: of the inputs, by field.

    Returns:
        The new version's folder. It appears whole, by a rename: a server that watches never sees a part.
    """
    version = folder / str(max(versions(folder), default=0) + 1)
    aside = fresh_folder_aside(version)
    predict = _predict_signature(ranker, dtypes)
    tf.saved_model.save(_resources_of(ranker), str(aside), signatures={"predict": predict, "serving_default": predict})
    os.rename(aside, version)
    return version


def versions(folder: Path) -> list[int]:
    """The versions of a model that are there, in ascending order."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def _predict_signature(ranker: Ranker, dtypes: Mapping[str, tf.DType]) -> tf.types.experimental.ConcreteFunction:
    @tf.function
    def predict(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": ranker.probabilities(features)}

    return predict.get_concrete_function(**{name: _spec(name, dtypes[name]) for name in ranker.fields})


def _spec(field: str, dtype: tf.DType) -> tf.TensorSpec:
    many = field.startswith("history_") or field == "query_embedding"
    return tf.TensorSpec([None, None] if many else [None], dtype, field)


def _resources_of(ranker: Ranker) -> tf.Module:
    """What the signatures read, without the Keras layers around it: those would bring functions of their own."""
    module = tf.Module(name="ranker")
    module.weights = ranker.network.variables
    module.indices = [part.index for part in ranker.network.submodules if isinstance(part, VocabularyEmbedding)]
    module.table = ranker.table
    return module
