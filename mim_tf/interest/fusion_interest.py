"""Fusion interest: what the user's IDs say, weighed by how alike the contents are."""

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import check_match, float_targets
from mim_tf.interest.content_attention import content_weighted_sums, real_behaviours
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.precision import at_least_float32


def check_same_positions(history: tf.Tensor, contents: tf.Tensor, name: str) -> None:
    """Check that ID and content embeddings, `name`, are of the same behaviours, as far as their shapes are known.

    Raises:
        ValueError: if batch size or length differ.
    """
    if not history.shape[:2].is_compatible_with(contents.shape[:2]):
        raise ValueError(
            f"`history` and `{name}` must have the same batch size and length. "
            f"Received: shapes {history.shape} and {contents.shape}."
        )


@keras.utils.register_keras_serializable(package="mim_tf")
class FusionInterest(InterestLayer):
    """Behaviours' ID embeddings, weighed by the raw cosine of their contents with the target's. Has no weights.

    ```
    h_Fus_B = sum_i a_MM(t, i) h_ID_i        a_MM(t, i) = cos(h_MM_t, h_MM_i), no softmax
    ```

    An item without a content embedding has the zero vector there, and takes no part: its weight is exactly 0.
    Many candidates of one user share one history; they are summed up one by one, or through the user's matrix
    `sum_i h_ID_i h^_i^T`, whichever takes fewer multiplications. `UserState` keeps that matrix between requests.

    Args:
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target_embedding: floating point (float16 table rows, say), `[batch, mm_dim]`, or `[batch, candidates, mm_dim]`.
        history_embedding: floating point, `[batch, length, mm_dim]`.
        history: floating point, the behaviours' ID embeddings, `[batch, length, dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN.

    Returns:
        The fusion interest, `[batch, dim]`, or `[batch, candidates, dim]`, in the layer's compute dtype; computed in at
        least float32.

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
        targets = float_targets(target_embedding, "target_embedding", wide)
        contents = real_behaviours(history_embedding, "history_embedding", mask, wide)
        ids = real_behaviours(history, "history", mask, wide)
        check_match(targets, contents, ("target_embedding", "history_embedding"))
        check_same_positions(ids, contents, "history_embedding")
        [interest] = content_weighted_sums(targets, contents, [ids])
        return tf.cast(interest, self.compute_dtype)
