"""A ranker as a SavedModel of stock TensorFlow ops, with the embedding table inside."""

from __future__ import annotations

import os
from pathlib import Path

import tensorflow as tf

from mim_tf.ranking import Ranker
from mim_tf.workdir import fresh_folder_aside


def export_ranker(ranker: Ranker, folder: Path, *, id_dtype: tf.DType) -> Path:
    """Write the next version of a model.

    The SavedModel has one signature, `predict`, which is also the default one:

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
        id_dtype: of the item ids, `tf.int64` or `tf.string`.

    Returns:
        The new version's folder. It appears whole, by a rename: a server that watches never sees a part.
    """
    version = folder / str(max(versions(folder), default=0) + 1)
    aside = fresh_folder_aside(version)
    predict = _predict_signature(ranker, id_dtype)
    tf.saved_model.save(_variables_of(ranker), str(aside), signatures={"predict": predict, "serving_default": predict})
    os.rename(aside, version)
    return version


def versions(folder: Path) -> list[int]:
    """The versions of a model that are there, in ascending order."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def _predict_signature(ranker: Ranker, id_dtype: tf.DType) -> tf.types.experimental.ConcreteFunction:
    @tf.function
    def predict(
        item_id: tf.Tensor, category: tf.Tensor, history_item_id: tf.Tensor, history_category: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        features = {
            "item_id": item_id,
            "category": category,
            "history_item_id": history_item_id,
            "history_category": history_category,
        }
        return {"probability": ranker.probabilities(features)}

    return predict.get_concrete_function(
        item_id=tf.TensorSpec([None], id_dtype, "item_id"),
        category=tf.TensorSpec([None], tf.string, "category"),
        history_item_id=tf.TensorSpec([None, None], id_dtype, "history_item_id"),
        history_category=tf.TensorSpec([None, None], tf.string, "history_category"),
    )


def _variables_of(ranker: Ranker) -> tf.Module:
    """What the signatures read, without the Keras layers around it: those would bring functions of their own."""
    module = tf.Module(name="ranker")
    module.weights = ranker.network.variables
    module.table = ranker.table
    return module
