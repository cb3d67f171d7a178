"""Content interest: which contents the user liked, as far as they look and read like the target."""

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import blank_padding, bool_mask, check_match, float_tensor, weighted_sum
from mim_tf.interest.content_attention import content_attention
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.precision import at_least_float32


@keras.utils.register_keras_serializable(package="mim_tf")
class ContentInterest(InterestLayer):
    """Behaviours' content embeddings, weighed by their raw cosine with the target's. Has no weights.

    ```
    h_MM_B = sum_i a_MM(t, i) h_MM_i        a_MM(t, i) = cos(h_MM_t, h_MM_i), no softmax
    ```

    An item without an embedding has the zero vector, and takes no part: its weight is exactly 0, its gradient too.

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target_embedding: floating point (float16 table rows, say), `[batch, mm_dim]`.
        history_embedding: floating point, `[batch, length, mm_dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN.

    Returns:
        The content interest, `[batch, mm_dim]`, in the layer's compute dtype; the cosine is taken in at least float32.

    Raises:
        TypeError: if an embedding is not floating point, or `mask` not boolean.
        ValueError: if the shapes do not fit each other.

    Example:
        >>> history = tf.constant([[[4.0, 3.0], [0.0, 2.0], [0.0, 0.0]]])
        >>> ContentInterest()(tf.constant([[1.0, 0.0]]), history).numpy().round(4)  # 0.8 of the first, 0 of the rest
        array([[3.2, 2.4]], dtype=float32)

    Reference:
        MIM, equation 7.
    """

    def call(
        self, target_embedding: tf.Tensor, history_embedding: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the content embeddings' weighted sum."""
        wide = at_least_float32(self.compute_dtype)
        target_embedding = float_tensor(target_embedding, "target_embedding", 2, wide)
        history_embedding = float_tensor(history_embedding, "history_embedding", 3, wide)
        check_match(target_embedding, history_embedding, ("target_embedding", "history_embedding"))
        history_embedding = blank_padding(history_embedding, bool_mask(mask, history_embedding))
        weights = content_attention(target_embedding, history_embedding)
        return weighted_sum(tf.cast(weights, self.compute_dtype), tf.cast(history_embedding, self.compute_dtype))
