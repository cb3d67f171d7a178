"""What language models that read from left to right have in common as encoders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras

from mim_tf.encoders.checkpoints import require
from mim_tf.encoders.text.pooling import Pooling

_ROTARY = (
    *("factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings"),
    *("partial_rotary_factor", "rope_theta", "rope_type", "type"),
)


def pooled(backbone: keras.Model, pooling: str, dtype: str) -> keras.Model:
    """A keras-nlp backbone with a vector per title, under the backbone's name."""
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="bool", name="padding_mask")
    tokens = backbone({"token_ids": token_ids, "padding_mask": mask})
    outputs = {"sequence": tokens, "pooled": Pooling(pooling, dtype=dtype, name="pooling")(tokens, mask)}
    return keras.Model({"token_ids": token_ids, "padding_mask": mask}, outputs, name=backbone.name)


def blocks(model: keras.Model) -> Sequence[keras.Layer]:
    """The decoder layers of what `pooled` made."""
    return model.get_layer(model.name).transformer_layers


def token_embedding(model: keras.Model) -> keras.Variable:
    """The matrix that token ids are looked up in, of what `pooled` made."""
    return model.get_layer(model.name).token_embedding.embeddings


def rotary(config: Mapping[str, Any], kinds: Collection[str]) -> dict[str, Any]:
    """Rotary position embeddings as transformers describes them, in `rope_parameters` or before version 5 elsewhere.

    Args:
        config: the content of `config.json`.
        kinds: the values of `rope_type` that a backbone honours.

    Returns:
        `rope_theta`, `rope_type`, and what belongs to the type, such as `factor`.

    Raises:
        ValueError: another type, or what none of these types has.

    Reference: Su et al., RoFormer (arXiv 2104.09864).
    """
    found = {**(config.get("rope_parameters") or {}), **(config.get("rope_scaling") or {})}
    rope = {
        "rope_theta": config.get("rope_theta", 10_000.0),
        "rope_type": found.get("type", "default"),
        "partial_rotary_factor": config.get("partial_rotary_factor"),
        **found,
    }
    require(rope, {"rope_type": tuple(kinds), "partial_rotary_factor": (None, 1.0)})
    unknown = sorted(found.keys() - _ROTARY)
    if unknown:
        raise ValueError(f"`rope_parameters` must have no keys but {', '.join(_ROTARY)}. Received: {unknown}.")
    return rope
