"""The item encoder in a Python worker of Spark's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from mim_tf.errors import DataError
from mim_tf.training.executor_threads import take_task_threads
from mim_tf.training.item_encoder_model import load_item_encoder_model
from mim_tf.workdir import StageFolder

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def load_predict(represent: StageFolder) -> Predict:
    """For `predict_batch_udf`, which calls it once per worker: load what `save_item_encoder_model` left.

    Returns:
        What gives, for `item_ids`, `images` (encoded bytes) and `titles`, each `[items]`, their `h_MM`, `[items, dim]`
        float32. It raises a `DataError` that names the item whose image does not decode.
    """
    take_task_threads()
    model = load_item_encoder_model(represent)

    def predict(item_ids: np.ndarray, images: np.ndarray, titles: np.ndarray) -> np.ndarray:
        try:
            embeddings: np.ndarray = model.embed(_strings(images), _strings(titles)).numpy()
        except tf.errors.InvalidArgumentError as error:
            if len(images) == 1:
                said = " ".join(error.message.split())  # in one line: Spark hands over a traceback
                raise DataError(f"`image` of item {item_ids[0]} must decode. Received: {said}") from error
            for item in range(len(images)):  # which one it is
                predict(*(given[item : item + 1] for given in (item_ids, images, titles)))
            raise
        return embeddings

    return predict


def _strings(texts: np.ndarray) -> tf.Tensor:
    return tf.constant(texts, tf.string)
