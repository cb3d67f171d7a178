"""Content interest: which contents the user liked, as far as they look and read like the target."""

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import check_match, float_targets
from mim_tf.interest.content_attention import content_weighted_sums, real_behaviours
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.precision import at_least_float32


@keras.utils.register_keras_serializable(package="mim_tf")
class ContentInterest(InterestLayer):
    """Behaviours' content embeddings, weighed by their raw cosine with the target's. Has no weights.

    ```
    h_MM_B = sum_i a_MM(t, i) h_MM_i        a_MM(t, i) = cos(h_MM_t, h_MM_i), no softmax
    ```

    An item without an embedding has the zero vector, and takes no part: its weight is exactly 0, its gradient too.
    Many candidates of one user share one history; they are summed up one by one, or through the user's matrix
    `sum_i h_MM_i h^_i^T`, whichever takes fewer multiplications. `UserState` keeps that matrix between requests.

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target_embedding: floating point (float16 table rows, say), `[batch, mm_dim]`, or `[batch, candidates, mm_dim]`.
        history_embedding: floating point, `[batch, length, mm_dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN.

    Returns:
        The content interest, `[batch, mm_dim]`, or `[batch, candidates, mm_dim]`, in the layer's compute dtype;
        computed in at least float32.

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
        targets = float_targets(target_embedding, "target_embedding", wide)
        contents = real_behaviours(history_embedding, "history_embedding", mask, wide)
        check_match(targets, contents, ("target_embedding", "history_embedding"))
        [interest] = content_weighted_sums(targets, contents, [contents])
        return tf.cast(interest, self.compute_dtype)
