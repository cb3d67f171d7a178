"""A ranker as a SavedModel of stock TensorFlow ops, with the embedding table inside or without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from mim_tf.ranking import Ranker, VocabularyEmbedding
from mim_tf.representation import EmbeddingTable, StoredEmbeddings
from mim_tf.representation.signatures import ConcreteFunction, table_signatures

_CONTENTS = ("item_content", "history_content")


def save_ranker(
    ranker: Ranker, folder: Path, *, dtypes: Mapping[str, tf.DType], stored: StoredEmbeddings | None
) -> None:
    """Write a ranker.

    The signature `predict`, which is also the default one, has as its inputs `ranker.fields`, as
    `mim_tf.ranking.RankingNetwork.fields` describes them, above all

        item_id           [batch]               target items
        category          [batch]               string, their categories
        history_item_id   [batch, length]       the user's behaviours, oldest first, padded at the end with -1 or ""
        history_category  [batch, length]       string, their categories, padded with ""
        -> probability    [batch]               float32 click probabilities

    A ranker with a table has the signatures of `table_signatures` too. A network that uses content and has no table is
    given it, in float16 as tables keep it, zeros for unknown items and padding:

        item_content      [batch, dim]          of the targets
        history_content   [batch, length, dim]  of the behaviours; [1, length, dim] where all rows are one user's

    and its signature `contents` says which store they must come from: request [n] int64 -> store [n] string, dim [n].

    An unknown item has a zero embedding and takes no part in content and fusion interest. Nothing large is a
    constant of the graph: table and weights are among the variables.

    Args:
        ranker: network, weights and perhaps a table.
        folder: to write into.
        dtypes: of the inputs, by field.
        stored: what the table was made of, or contents are to come from; None where the network uses none.
    """
    predict = _predict_signature(ranker, dtypes, None if stored is None else stored.embeddings.shape[1])
    signatures = {"predict": predict, "serving_default": predict}
    if isinstance(ranker.table, EmbeddingTable) and stored is not None:
        signatures |= table_signatures(ranker.table, stored)
    elif stored is not None:
        signatures["contents"] = _contents(stored)
    tf.saved_model.save(_resources_of(ranker), str(folder), signatures=signatures)


def _predict_signature(ranker: Ranker, dtypes: Mapping[str, tf.DType], dim: int | None) -> ConcreteFunction:
    @tf.function
    def predict(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        for name in set(_CONTENTS) & set(features):
            shape = tf.concat([tf.shape(features["item_id"]), tf.shape(features[name])[1:]], axis=0)
            features[name] = tf.broadcast_to(features[name], shape)
        return {"probability": ranker.probabilities(features)}

    return predict.get_concrete_function(**{name: _spec(name, dtypes, dim) for name in ranker.fields})


def _spec(field: str, dtypes: Mapping[str, tf.DType], dim: int | None) -> tf.TensorSpec:
    many = field.startswith("history_") or field == "query_embedding"
    shape = [None, None] if many else [None]
    if field in _CONTENTS:
        return tf.TensorSpec([*shape, dim], tf.float16, field)
    return tf.TensorSpec(shape, dtypes[field], field)


def _contents(stored: StoredEmbeddings) -> ConcreteFunction:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "request")])
    def contents(request: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {"store": tf.constant(stored.store), "dim": tf.constant(stored.embeddings.shape[1], tf.int64)}
        return {name: tf.fill(tf.shape(request), value) for name, value in values.items()}

    return contents.get_concrete_function()


def _resources_of(ranker: Ranker) -> tf.Module:
    """What the signatures read, without the Keras layers around it: those would bring functions of their own."""
    module = tf.Module(name="ranker")
    module.weights = ranker.network.variables
    module.indices = [part.index for part in ranker.network.submodules if isinstance(part, VocabularyEmbedding)]
    module.table = ranker.table
    return module
