"""Average pooling: the user's taste as the mean of the behaviours, whatever the target."""

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import as_given, blank_padding, checked, weighted_sum
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.precision import at_least_float32


@keras.utils.register_keras_serializable(package="mim_tf")
class AveragePooling(InterestLayer):
    """Mean of the real behaviours: the plainest user behaviour model (UBM).

    ```
    h_ID_B = 1/n sum_i h_ID_i        over the n behaviours whose mask is True; zero where n = 0
    ```

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, `[batch, dim]`, or `[batch, candidates, dim]`. Does not change the result; here
            because every UBM takes it.
        history: floating point, `[batch, length, dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN.

    Returns:
        The ID interest, `[batch, dim]`, or `[batch, candidates, dim]`, in the layer's compute dtype.

    Raises:
        TypeError: if `target` or `history` is not floating point, or `mask` not boolean.
        ValueError: if the shapes do not fit each other.

    Example:
        >>> history = tf.constant([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
        >>> AveragePooling()(tf.zeros([1, 2]), history, mask=tf.constant([[True, True, False]])).numpy()
        array([[2., 3.]], dtype=float32)

    Reference:
        MIM, equation 1 with equal weights; "Avg Pooling" of its table 2.
    """

    def call(self, target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return the mean of the behaviours."""
        # A mean over thousands of behaviours is taken in float32, whatever the policy: float16 would drift.
        wide = at_least_float32(self.compute_dtype)
        targets, history, real = checked(target, history, mask, wide)
        counted = tf.cast(real, wide)
        total = weighted_sum(counted, blank_padding(history, real))
        mean = tf.math.divide_no_nan(total, tf.reduce_sum(counted, axis=1, keepdims=True))
        interests = tf.broadcast_to(tf.cast(mean, self.compute_dtype)[:, tf.newaxis], tf.shape(targets))
        return as_given(interests, target)
