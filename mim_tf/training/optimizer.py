"""AdamW as the contrastive and masked trainings use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mim_tf.settings import TrainingSettings


class AdamW(keras.optimizers.Adam):
    """Adam with decoupled weight decay, a rate of its own for every variable, and gradients that are reduced already.

    Keras' AdamW has one rate for all variables, and sums the gradients over replicas only after it has clipped each
    replica's.

    Args:
        learning_rate: a number or a schedule.
        weight_decay: of matrices; biases and all other vectors are spared.
        rates: relative rates by variables' paths; 1 where there is none.

    Reference: Loshchilov & Hutter, Decoupled Weight Decay Regularization (arXiv 1711.05101).
    """

    def __init__(self, learning_rate: Any, weight_decay: float, rates: Mapping[str, float]):
        super().__init__(learning_rate)
        self._decay = weight_decay
        self._rates_by_path = dict(rates)

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the moments of these variables."""
        super().build(variables)
        self._rates = [self._rates_by_path.get(variable.path, 1.0) for variable in variables]
        self._decays = [0.0 if _is_spared(variable) else self._decay for variable in variables]

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: tf.Tensor) -> None:
        """Update one variable."""
        gradient = tf.convert_to_tensor(gradient)  # rows that come twice count once, as their sum
        index = self._get_variable_index(variable)
        rate = tf.cast(learning_rate, variable.dtype) * self._rates[index]
        if self._decays[index]:
            self.assign_sub(variable, rate * self._decays[index] * variable)
        super().update_step(gradient, variable, rate)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars


def adamw(variables: list[keras.Variable], steps: int, options: TrainingSettings, rates: Mapping[str, float]) -> AdamW:
    """An optimiser whose rate climbs to its peak, then falls to zero along a cosine over the rest of the steps.

    Args:
        variables: what learns.
        steps: of the whole training, also none.
        options: rate, warm-up and weight decay.
        rates: relative rates by variables' paths.
    """
    warmup = round(options.warmup * steps)
    if warmup:
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps=max(1, steps - warmup), warmup_steps=warmup, warmup_target=options.learning_rate
        )
    else:
        schedule = keras.optimizers.schedules.CosineDecay(options.learning_rate, decay_steps=max(1, steps))
    optimizer = AdamW(schedule, options.weight_decay, rates)
    optimizer.build(variables)
    return optimizer


def _is_spared(variable: keras.Variable) -> bool:
    # Biases, which attention keeps by head, and all other vectors: scales of norms and layers, single tokens.
    return variable.name == "bias" or sum(size > 1 for size in variable.shape) < 2
