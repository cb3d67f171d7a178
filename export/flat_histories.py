"""Histories that are sent without padding: all behaviours one after the other, and how many belong to each row."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from mim_tf.export.input_checks import lengths_fit, not_too_many, same_sizes

LENGTHS = "history_length"


def flat_specs(specs: dict[str, tf.TensorSpec], histories: Sequence[str]) -> dict[str, tf.TensorSpec]:
    """The inputs of a signature whose histories `[batch, length, ...]` are flat instead, `[behaviours, ...]`."""
    flat = {name: tf.TensorSpec(specs[name].shape[1:], specs[name].dtype, name) for name in histories}
    return specs | flat | {LENGTHS: tf.TensorSpec([None], tf.int64, LENGTHS)}


def padded(inputs: dict[str, tf.Tensor], histories: Sequence[str], most: int) -> dict[str, tf.Tensor]:
    """The inputs with histories `[batch, length, ...]`, padded at the end, in place of flat ones and `history_length`.

    Raises:
        tf.errors.InvalidArgumentError: lengths that do not deal out the behaviours, columns of different sizes, or more
            than `most` places when they are padded.
    """
    lengths, behaviours = inputs[LENGTHS], tf.shape(inputs["history_item_id"])[0]
    checks = same_sizes(inputs, histories, "history_item_id", [0])
    with tf.control_dependencies([*checks, lengths_fit(lengths, behaviours)]):
        longest = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    with tf.control_dependencies([not_too_many(tf.size(lengths), 1, longest, most)]):
        lengths = tf.identity(lengths)
    rows = {
        name: tf.RaggedTensor.from_row_lengths(inputs[name], lengths, validate=False).to_tensor(
            _padding(name, inputs[name].dtype)
        )
        for name in histories
    }
    return {name: values for name, values in (inputs | rows).items() if name != LENGTHS}


def _padding(name: str, dtype: tf.DType) -> int | str:
    """What stands for no behaviour; only the item's id tells, other columns may hold anything there."""
    if dtype == tf.string:
        return ""
    return -1 if name == "history_item_id" else 0
