"""TWIN: one attention both searches a long history and pools what it found."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import as_given, blank_padding, checked
from mim_tf.interest.cross_features import category_flags, time_gap_features
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.masked_softmax import masked_softmax
from mim_tf.interest.precision import at_least_float32
from mim_tf.interest.selection import highest
from mim_tf.interest.sizes import check_sizes
from mim_tf.interest.target_attention import attention_scores, join_heads, map_queries, pool
from mim_tf.interest.time_gap_embedding import TimeGapEmbedding


@keras.utils.register_keras_serializable(package="mim_tf")
class TWIN(InterestLayer):
    """TWo-stage Interest Network: the search over the whole history uses the very scores that the attention uses.

    Behaviours K = [K_h, K_c] have inherent features K_h, the history, and cross features K_c, which depend on the
    request: the embedded time gap, and an embedding of whether the category is the target's. For each head

    ```
    alpha = (K_h W_h) (q W_q)^T / sqrt(key_dim) + (K_c W_c) beta        a cross feature becomes a bias of the score
    head  = softmax(alpha_top)^T K_top W_v                              top: the top_k behaviours of highest alpha
    h_ID_B = concat(head_1, .., head_n) W_o
    ```

    W_c makes one number of each cross feature, which beta weighs; only their products act, so these are the weights
    here. As each head searches by its own alpha, what a head attends to is what it would have found.

    The category's feature alone depends on the target, and is one of two rows: its part of alpha is one of two numbers,
    and its part of the sum each row times the weight that fell to it. So behaviours are the same for all candidates.

    Args:
        top_k: behaviours that a head attends to at most (ties stay in).
        heads: attention heads.
        key_dim: dimension of a head's query, keys and values.
        time_dim: dimension of the time gaps' embedding; 0 for a model without time gaps.
        category_dim: dimension of the category feature's embedding; 0 for a model without it.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, `[batch, dim]`, or `[batch, candidates, dim]`.
        history: floating point, `[batch, length, dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN.
            A history without a real behaviour gives zeros.
        time_gaps: seconds before the request, `[batch, length]`.
        same_category: bool, `[batch, length]`, or `[batch, candidates, length]` beside candidates, whether a behaviour
            is of the target's category. Of these two, None counts as an embedding of zeros; its weights then have no
            gradient, so a model that never has a feature should set its dimension to 0.

    Returns:
        The ID interest, `[batch, dim]`, or `[batch, candidates, dim]`, in the layer's compute dtype. It is computed in
        at least float32: rounded to half precision, many scores would tie.

    Raises:
        TypeError: if `target` or `history` is not floating point, or `mask` or `same_category` not boolean.
        ValueError: if an argument is out of range, or the shapes do not fit each other.

    Example:
        >>> interest = TWIN(top_k=50)(tf.ones([2, 4]), tf.ones([2, 1_000, 4]), time_gaps=tf.ones([2, 1_000]))
        >>> interest.shape
        TensorShape([2, 4])

    Reference:
        Chang et al., TWIN: TWo-stage Interest Network for Lifelong User Behavior Modeling in CTR Prediction at
        Kuaishou, section 4, arXiv:2302.02352. MIM, equation 1.
    """

    def __init__(
        self,
        top_k: int = 100,
        heads: int = 4,
        key_dim: int = 16,
        time_dim: int = 8,
        category_dim: int = 8,
        **kwargs: Any,
    ) -> None:
        check_sizes(top_k=top_k, heads=heads, key_dim=key_dim)
        check_sizes(0, time_dim=time_dim, category_dim=category_dim)
        super().__init__(**kwargs)
        self.top_k = top_k
        self.heads = heads
        self.key_dim = key_dim
        self.time_dim = time_dim
        self.category_dim = category_dim
        self.gap_embedding = TimeGapEmbedding(time_dim, dtype=self.dtype_policy) if time_dim else None

    def build(self, target_shape: Any) -> None:
        """Make the weights of the attention and of the cross features."""
        dim = target_shape[-1]
        if dim is None:
            raise ValueError(f"`target` must have a known last dimension. Received: shape {target_shape}.")
        cross_dim = self.time_dim + self.category_dim
        self.query = self._kernel("query", self.heads, dim, self.key_dim)  # W_q
        self.key = self._kernel("key", self.heads, dim, self.key_dim)  # W_h
        self.cross = self._kernel("cross", self.heads, cross_dim)  # W_c beta
        self.value = self._kernel("value", self.heads, dim + cross_dim, self.key_dim)  # W_v
        self.output_kernel = self._kernel("output_kernel", self.heads, self.key_dim, dim)  # W_o
        if self.gap_embedding is not None:
            self.gap_embedding.build((None, None))
        if self.category_dim:
            # One row for another category, one for the target's.
            self.category_embedding = self._kernel("category_embedding", 2, self.category_dim)
        super().build(target_shape)

    def _kernel(self, name: str, *shape: int) -> tf.Variable:
        return self.add_weight(name=name, shape=shape, initializer="glorot_uniform", autocast=False)

    def call(
        self,
        target: tf.Tensor,
        history: tf.Tensor,
        mask: tf.Tensor | None = None,
        time_gaps: tf.Tensor | None = None,
        same_category: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return the joined heads' sums of what they searched out."""
        wide = at_least_float32(self.compute_dtype)
        targets, history, real = checked(target, history, mask, wide)
        behaviours = self._behaviours(blank_padding(history, real), time_gaps)
        same = None
        if self.category_dim and same_category is not None:
            same = category_flags(same_category, target, history)[:, :, tf.newaxis]  # of every head
        scores = self._scores(targets, behaviours, same)
        attention = masked_softmax(scores, highest(scores, real[:, tf.newaxis, tf.newaxis], self.top_k))
        pooled = tf.concat([pool(attention, behaviours), self._pooled_categories(attention, same)], axis=-1)
        heads = tf.einsum("bchw,hwk->bchk", pooled, tf.cast(self.value, wide))
        return as_given(tf.cast(join_heads(heads, self.output_kernel), self.compute_dtype), target)

    def _behaviours(self, history: tf.Tensor, time_gaps: tf.Tensor | None) -> tf.Tensor:
        """Return of K what every candidate shares, `[batch, length, dim + time_dim]`."""
        if self.gap_embedding is None:
            return history
        return tf.concat([history, time_gap_features(time_gaps, self.gap_embedding, history)], axis=-1)

    def _scores(self, targets: tf.Tensor, behaviours: tf.Tensor, same: tf.Tensor | None) -> tf.Tensor:
        """Return alpha, `[batch, candidates, heads, length]`."""
        inherent = map_queries(targets, self.query, self.key) / self.key_dim**0.5
        of_time, of_category = tf.split(tf.cast(self.cross, targets.dtype), [self.time_dim, self.category_dim], axis=1)
        # Each head's query in the space of the behaviours; the part for the time gaps is the same for every target.
        shape = tf.concat([tf.shape(inherent)[:-1], [self.time_dim]], axis=0)
        scores = attention_scores(tf.concat([inherent, tf.broadcast_to(of_time, shape)], axis=-1), behaviours)
        if same is None:
            return scores
        rows = tf.cast(self.category_embedding, targets.dtype)
        other, own = tf.unstack(tf.matmul(rows, of_category, transpose_b=True))  # [heads] each
        return scores + tf.where(same, own[:, tf.newaxis], other[:, tf.newaxis])

    def _pooled_categories(self, attention: tf.Tensor, same: tf.Tensor | None) -> tf.Tensor:
        """Return the category features' weighted sums, `[batch, candidates, heads, category_dim]`; zeros for None.

        Only two different ones there are, so the sum takes no more than the weight of either.
        """
        if same is None:
            return tf.zeros(tf.concat([tf.shape(attention)[:-1], [self.category_dim]], axis=0), attention.dtype)
        nothing = tf.zeros([], attention.dtype)
        weights = [tf.reduce_sum(tf.where(of_row, attention, nothing), axis=-1) for of_row in (~same, same)]
        return tf.tensordot(tf.stack(weights, axis=-1), tf.cast(self.category_embedding, attention.dtype), axes=1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "heads": self.heads,
            "key_dim": self.key_dim,
            "time_dim": self.time_dim,
            "category_dim": self.category_dim,
        }
