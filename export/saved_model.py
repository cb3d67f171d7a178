"""A ranker as a SavedModel of stock TensorFlow ops, with the embedding table inside or without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from mim_tf.export.ranker_signatures import ranker_signatures
from mim_tf.ranking import Ranker, VocabularyEmbedding
from mim_tf.representation import EmbeddingTable, StoredEmbeddings
from mim_tf.representation.signatures import ConcreteFunction, table_signatures


def save_ranker(
    ranker: Ranker,
    folder: Path,
    *,
    dtypes: Mapping[str, tf.DType],
    stored: StoredEmbeddings | None,
    most_pairs: int,
) -> None:
    """Write a ranker, with the signatures of `ranker_signatures`.

    One with a table has those of `table_signatures` too. A network that uses content and has no table is given it, in
    float16 as tables keep it, zeros for unknown items and padding:

        item_content      [batch, dim], or [users, candidates, dim]      of the targets
        history_content   [batch, length, dim]                           of the behaviours

    and its signature `contents` says which store they must come from: request [n] int64 -> store [n] string, dim [n].

    An unknown item has a zero embedding and takes no part in content and fusion interest. Nothing large is a
    constant of the graph: table and weights are among the variables.

    Args:
        ranker: network, weights and perhaps a table.
        folder: to write into.
        dtypes: of the inputs, by field.
        stored: what the table was made of, or contents are to come from; None where the network uses none.
        most_pairs: as in `ranker_signatures`.
    """
    signatures = ranker_signatures(ranker, dtypes, stored, most_pairs)
    if isinstance(ranker.table, EmbeddingTable) and stored is not None:
        signatures |= table_signatures(ranker.table, stored)
    elif stored is not None:
        signatures["contents"] = _contents(stored)
    tf.saved_model.save(_resources_of(ranker), str(folder), signatures=signatures)


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
