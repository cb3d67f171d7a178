"""The momentum encoder: an encoder that follows the one in training slowly, so that what it embeds ages slowly."""

from __future__ import annotations

from typing import Any

import keras


class SlowWeights(keras.layers.Layer):
    """A moving average of an encoder's weights, `s <- m s + (1 - m) w` at each step, to be used in their place.

    `w` is what the step began with. Statistics of batch normalisation are the encoder's own.

    Args:
        encoder: the model in training.
        momentum: `m`.

    Example:
        >>> with slow.scope():
        ...     embeddings = encoder(images)  # by the slow weights

    Reference: He et al., Momentum Contrast (arXiv 1911.05722), equation (2).
    """

    def __init__(self, encoder: keras.Model, momentum: float, **kwargs: Any):
        super().__init__(**kwargs)
        self._encoder = encoder
        self._momentum = momentum
        self.averages = [self._copy_of(variable) for variable in encoder.trainable_variables]
        self.built = True

    def _copy_of(self, variable: keras.Variable) -> keras.Variable:
        copy = self.add_weight(shape=variable.shape, dtype=variable.dtype, trainable=False, name=variable.name)
        copy.assign(variable)
        return copy

    def scope(self) -> keras.StatelessScope:
        """Within it the encoder computes with the averages, and whatever it assigns to its variables is forgotten."""
        pairs = zip(self._encoder.trainable_variables, self.averages, strict=True)
        return keras.StatelessScope(state_mapping=[(variable, average.value) for variable, average in pairs])

    def follow(self) -> None:
        """Move the averages towards the weights, on each replica alike."""
        for average, variable in zip(self.averages, self._encoder.trainable_variables, strict=True):
            average.assign_add((1.0 - self._momentum) * (variable - average))
