"""Requests of real items to the encoders, and what the `represent` stage's own answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.data.records import read_items
from mim_tf.export.gate import Case
from mim_tf.training.item_encoder_model import load_item_encoder_model
from mim_tf.training.represent import fingerprint_file
from mim_tf.workdir import StageFolder

_ITEMS = 8
_SIGNATURES = ("embed", "serving_default")


def real_items(records: Path) -> dict[str, np.ndarray]:
    """Images and titles of some items, as an encoder takes them.

    Raises:
        DataError: the records are damaged.
    """
    items = next(iter(read_items(records, batch_size=_ITEMS, verify=False)))
    return {name: items[name].numpy() for name in ("image", "title")}


def encoder_cases(represent: StageFolder, inputs: Mapping[str, np.ndarray]) -> list[Case]:
    """Cases of the item encoder, or of the query encoder where `inputs` have no titles: one row, and all.

    Args:
        represent: the finished stage.
        inputs: `image` `[n]` and perhaps `title` `[n]`.
    """
    model = load_item_encoder_model(represent)
    images = tf.constant(inputs["image"])
    titled = "title" in inputs
    embedding = model.embed(images, tf.constant(inputs["title"])) if titled else model.embed_query(images)
    fingerprint = fingerprint_file(represent).read_text(encoding="utf-8").strip().encode()
    expected = {"embedding": embedding.numpy(), "encoder": np.full(len(embedding), fingerprint, object)}
    first = ({name: values[:1] for name, values in part.items()} for part in (inputs, expected))
    return [Case("embed", *first), *(Case(signature, inputs, expected) for signature in _SIGNATURES)]
