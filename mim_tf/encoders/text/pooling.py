"""One vector per title out of its tokens' vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def mean_pooling(tokens: Any, mask: Any) -> Any:
    """The mean over all tokens that are not padding, special ones included.

    Reference: Reimers & Gurevych, Sentence-BERT (arXiv 1908.10084).
    """
    weights = ops.expand_dims(ops.cast(mask, tokens.dtype), -1)  # [batch, length, 1]
    return ops.sum(tokens * weights, axis=1) / ops.sum(weights, axis=1)


def first_pooling(tokens: Any, mask: Any) -> Any:
    """The first token, [CLS] or <s>, which sees all others."""
    return tokens[:, 0]


def last_pooling(tokens: Any, mask: Any) -> Any:
    """The last token that is not padding: the only one of a causal model that sees all others."""
    last = ops.sum(ops.cast(mask, "int32"), axis=1) - 1  # [batch]
    return ops.squeeze(ops.take_along_axis(tokens, last[:, None, None], axis=1), axis=1)


POOLINGS: dict[str, Callable[[Any, Any], Any]] = {
    "mean": mean_pooling,
    "first": first_pooling,
    "last": last_pooling,
}


@keras.utils.register_keras_serializable(package="mim_tf")
class Pooling(keras.layers.Layer):
    """One of `POOLINGS` as a layer of a functional model.

    Args:
        pooling: its name.

    Call arguments:
        tokens: `[batch, length, dim]`.
        mask: `[batch, length]` bool, false where there is padding.

    Returns:
        `[batch, dim]`.

    Raises:
        ValueError: an unknown name.
    """

    def __init__(self, pooling: str, **kwargs: Any):
        if pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {', '.join(sorted(POOLINGS))}. Received: {pooling!r}.")
        super().__init__(**kwargs)
        self.pooling = pooling

    def call(self, tokens: Any, mask: Any) -> Any:
        """Pool a batch of titles."""
        return POOLINGS[self.pooling](tokens, mask)

    def get_config(self) -> dict[str, Any]:
        """The pooling's name beside the base config."""
        return {**super().get_config(), "pooling": self.pooling}
