"""Fusion interest: what the user's IDs say, weighed by how alike the contents are."""

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import blank_padding, bool_mask, check_match, float_tensor, weighted_sum
from mim_tf.interest.content_attention import content_attention
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.precision import at_least_float32


@keras.utils.register_keras_serializable(package="mim_tf")
class FusionInterest(InterestLayer):
    """Behaviours' ID embeddings, weighed by the raw cosine of their contents with the target's. Has no weights.

    ```
    h_Fus_B = sum_i a_MM(t, i) h_ID_i        a_MM(t, i) = cos(h_MM_t, h_MM_i), no softmax
    ```

    An item without a content embedding has the zero vector there, and takes no part: its weight is exactly 0.

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target_embedding: floating point (float16 table rows, say), `[batch, mm_dim]`.
        history_embedding: floating point, `[batch, length, mm_dim]`.
        history: floating point, the behaviours' ID embeddings, `[batch, length, dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN.

    Returns:
        The fusion interest, `[batch, dim]`, in the layer's compute dtype; the cosine is taken in at least float32.

    Raises:
        TypeError: if an embedding is not floating point, or `mask` not boolean.
        ValueError: if the shapes do not fit each other.

    Example:
        >>> contents = tf.constant([[[4.0, 3.0], [0.0, 2.0]]])
        >>> FusionInterest()(tf.constant([[1.0, 0.0]]), contents, tf.constant([[[10.0], [20.0]]])).numpy().round(4)
        array([[8.]], dtype=float32)

    Reference:
        MIM, equation 8.
    """

    def call(
        self,
        target_embedding: tf.Tensor,
        history_embedding: tf.Tensor,
        history: tf.Tensor,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the ID embeddings' weighted sum."""
        wide = at_least_float32(self.compute_dtype)
        target_embedding = float_tensor(target_embedding, "target_embedding", 2, wide)
        history_embedding = float_tensor(history_embedding, "history_embedding", 3, wide)
        history = float_tensor(history, "history", 3, self.compute_dtype)
        check_match(target_embedding, history_embedding, ("target_embedding", "history_embedding"))
        if not history.shape[:2].is_compatible_with(history_embedding.shape[:2]):
            raise ValueError(
                "`history` and `history_embedding` must have the same batch size and length. "
                f"Received: shapes {history.shape} and {history_embedding.shape}."
            )
        mask = bool_mask(mask, history)
        weights = content_attention(target_embedding, blank_padding(history_embedding, mask))
        return weighted_sum(tf.cast(weights, self.compute_dtype), blank_padding(history, mask))
