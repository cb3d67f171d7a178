"""A number as it is, at mean 0 and deviation 1."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras


@keras.utils.register_keras_serializable(package="mim_tf")
class Standardised(keras.layers.Layer):
    """Shifts and scales a number, so that it weighs as much as an embedding's entries do. Has no weights.

    ```
    (value - mean) / deviation        0 where the deviation is
    ```

    Args:
        mean: of the training data.
        deviation: their standard deviation, 0 for a constant.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        values: integer or floating point, `[...]`.

    Returns:
        `[..., 1]`, in the layer's compute dtype.

    Raises:
        ValueError: `mean` or `deviation` is not finite, or `deviation` negative.

    Example:
        >>> Standardised(10.0, 5.0)(tf.constant([0, 20])).numpy()
        array([[-2.],
               [ 2.]], dtype=float32)
    """

    def __init__(self, mean: float, deviation: float, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        if not (abs(mean) < float("inf") and 0 <= deviation < float("inf")):
            raise ValueError(
                f"`mean` and `deviation` must be finite, the latter not negative. Received: {mean}, {deviation}."
            )
        self.mean = float(mean)
        self.deviation = float(deviation)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Standardise a batch of numbers."""
        wide = tf.cast(values, tf.float32)  # before the mean is taken off: float16 ends at 65,504
        scaled = tf.math.divide_no_nan(wide - self.mean, self.deviation)
        return tf.cast(scaled[..., tf.newaxis], self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mean": self.mean, "deviation": self.deviation}
