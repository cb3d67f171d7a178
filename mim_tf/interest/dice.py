"""Dice, DIN's activation: a PReLU whose bend follows the data."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.precision import at_least_float32

# Each replica keeps its own moving statistics and they are averaged when read, as batch normalisation does under
# tf.distribute. Keras 3 (the one with `keras.ops`) spells this differently and averages at each step.
_AVERAGED: dict[str, Any] = (
    {"aggregation": "mean"}
    if hasattr(keras, "ops")
    else {
        "aggregation": tf.VariableAggregation.MEAN,
        "synchronization": tf.VariableSynchronization.ON_READ,
    }
)


@keras.utils.register_keras_serializable(package="mim_tf")
class Dice(keras.layers.Layer):
    """Data-adaptive activation: passes what is high for its unit, damps what is low.

    ```
    f(s) = p(s) s + (1 - p(s)) alpha s        p(s) = sigmoid((s - E[s]) / sqrt(Var[s] + epsilon))
    ```

    E and Var are per unit (last axis) over the batch in training, and moving averages of those otherwise, or when the
    layer is not trainable. Statistics are taken over real positions only: padding is most of a batch of short
    histories, and a prediction must not depend on how far its history was padded. A training batch without one real
    position leaves the moving averages as they are. alpha is learnt, one per unit, from 0.

    Args:
        momentum: share of the old moving average kept at each training step, in [0, 1).
        epsilon: added to the variance; above 0.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        inputs: floating point, `[batch, ..., units]`.
        mask: bool, `[batch, ...]`, False at positions to leave out of the statistics; None if all count.
        training: whether to use, and learn from, the statistics of this batch.

    Returns:
        Like `inputs`, in the layer's compute dtype. Statistics and sigmoid are computed in at least float32.

    Raises:
        ValueError: if an argument is out of range, or `mask` is not shaped like `inputs` without its last axis.

    Example:
        >>> Dice()(tf.constant([[0.0, 2.0]])).numpy().round(4)
        array([[0.    , 1.7616]], dtype=float32)

    Reference:
        Zhou et al., Deep Interest Network for Click-Through Rate Prediction, section 5.3, arXiv:1706.06978.
    """

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-8, **kwargs: Any) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: {momentum}.")
        if not epsilon > 0:
            raise ValueError(f"`epsilon` must be above 0. Received: {epsilon}.")
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make one alpha, mean and variance per unit."""
        units = input_shape[-1]
        if units is None:
            raise ValueError(f"`inputs` must have a known last dimension. Received: shape {input_shape}.")
        self.alpha = self.add_weight(name="alpha", shape=(units,), initializer="zeros", autocast=False)
        statistic: dict[str, Any] = {"shape": (units,), "trainable": False, "autocast": False, **_AVERAGED}
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **statistic)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **statistic)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, mask: tf.Tensor | None = None, training: bool | None = None) -> tf.Tensor:
        """Return the activated inputs."""
        wide = at_least_float32(self.compute_dtype)
        scores = tf.cast(inputs, wide)
        mean, variance = tf.cast(self.moving_mean, wide), tf.cast(self.moving_variance, wide)
        if training and self.trainable:
            mean, variance = self._learn_statistics(scores, mask, mean, variance)
        p = tf.sigmoid((scores - mean) * tf.math.rsqrt(variance + self.epsilon))
        alpha = tf.cast(self.alpha, wide)
        # p s + (1 - p) alpha s, in fewer passes over what is large.
        return tf.cast(scores * (alpha + (1 - alpha) * p), self.compute_dtype)

    def _learn_statistics(
        self, scores: tf.Tensor, mask: tf.Tensor | None, moving_mean: tf.Tensor, moving_variance: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean and variance of the real positions, each `[units]`, and move the averages towards them."""
        if mask is not None:
            mask = tf.convert_to_tensor(mask)
            if not mask.shape.is_compatible_with(scores.shape[:-1]):
                raise ValueError(
                    f"`mask` must have the shape of `inputs` without its last axis, {scores.shape[:-1]}. "
                    f"Received: shape {mask.shape}."
                )
            scores = tf.boolean_mask(scores, mask)
        mean, variance = tf.nn.moments(scores, list(range(scores.shape.rank - 1)))
        # With no real position at all the moving averages stand in, and so stay where they are.
        any_real = tf.size(scores) > 0
        mean = tf.where(any_real, mean, moving_mean)
        variance = tf.where(any_real, variance, moving_variance)
        for average, moving, now in (
            (self.moving_mean, moving_mean, mean),
            (self.moving_variance, moving_variance, variance),
        ):
            average.assign(tf.cast(moving + (1 - self.momentum) * (now - moving), average.dtype))
        return mean, variance

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
