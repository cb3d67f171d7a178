"""SIM: search a long history for what concerns the target, then attend to what was found."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import as_given, blank_padding, checked
from mim_tf.interest.cross_features import category_flags, time_gap_features
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.masked_softmax import masked_softmax
from mim_tf.interest.precision import at_least_float32
from mim_tf.interest.selection import highest, latest
from mim_tf.interest.sizes import check_sizes
from mim_tf.interest.target_attention import attention_scores, join_heads, map_queries, pool
from mim_tf.interest.time_gap_embedding import TimeGapEmbedding

_SEARCHES = ("hard", "soft")


@keras.utils.register_keras_serializable(package="mim_tf")
class SIM(InterestLayer):
    """Search-based Interest Model: a general search unit picks behaviours, an exact one attends to them.

    ```
    hard search   the top_k latest behaviours i of the target's category
    soft search   the top_k behaviours i of highest r_i = (W_b h_i) . (W_a h_t)          U_r = sum_i r_i h_i, over all i
    exact search  z_i = [h_i ; e(time gap_i)] of these        a_j = softmax_i((W_b,j z_i) . (W_a,j h_t)), head j
                  U_lt = W_o concat_j(sum_i a_j,i z_i)
    h_ID_B        = U_lt after the hard search, [U_r ; U_lt] after the soft one
    ```

    What the soft search finds has no gradient. The paper trains W_a and W_b by a click model of their own on U_r. A
    layer knows no clicks, so U_r is part of what it returns, and the click model around it trains them. U_r is a sum
    over the whole history, as in the paper, so it grows with the history's length; U_lt does not. W_o, ours, brings the
    heads to the history's dimension, so that this interest is as wide as the others.

    Args:
        search: "soft" or "hard".
        top_k: behaviours that the exact search unit sees at most (ties of the soft search stay in).
        heads: attention heads of the exact search unit.
        key_dim: dimension in which a behaviour and the target are compared, in either unit.
        time_dim: dimension of the time gaps' embedding; 0 for a model without time gaps.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, `[batch, dim]`, or `[batch, candidates, dim]`.
        history: floating point, `[batch, length, dim]`, oldest first.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN.
            Without a real behaviour (for the hard search: one of the target's category) the result is zero.
        time_gaps: seconds before the request, `[batch, length]`. None counts as an embedding of zeros; the embedding's
            weights then have no gradient, so a model that has none should say `time_dim=0`.
        same_category: bool, `[batch, length]`, or `[batch, candidates, length]` beside candidates, whether a behaviour
            is of the target's category. For the hard search.

    Returns:
        The ID interest, `[batch, any_dim]`, or `[batch, candidates, any_dim]`, in the layer's compute dtype; its
        dimension is `dim` after the hard search and `2 * dim` after the soft one. It is computed in at least float32:
        rounded to half precision, many scores would tie.

    Raises:
        TypeError: if `target` or `history` is not floating point, or `mask` or `same_category` not boolean.
        ValueError: if an argument is out of range, the shapes do not fit each other, or the hard search has no
            `same_category`.

    Example:
        >>> interest = SIM(top_k=50)(tf.ones([2, 4]), tf.ones([2, 1_000, 4]), time_gaps=tf.ones([2, 1_000]))
        >>> interest.shape
        TensorShape([2, 8])

    Reference:
        Pi et al., Search-based User Interest Modeling with Lifelong Sequential Behavior Data for Click-Through Rate
        Prediction, section 3, arXiv:2006.05639. MIM, equation 1.
    """

    def __init__(
        self,
        search: str = "soft",
        top_k: int = 100,
        heads: int = 4,
        key_dim: int = 16,
        time_dim: int = 8,
        **kwargs: Any,
    ) -> None:
        if search not in _SEARCHES:
            raise ValueError(f"`search` must be one of {', '.join(_SEARCHES)}. Received: {search!r}.")
        check_sizes(top_k=top_k, heads=heads, key_dim=key_dim)
        check_sizes(0, time_dim=time_dim)
        super().__init__(**kwargs)
        self.search = search
        self.top_k = top_k
        self.heads = heads
        self.key_dim = key_dim
        self.time_dim = time_dim
        self.gap_embedding = TimeGapEmbedding(time_dim, dtype=self.dtype_policy) if time_dim else None

    def build(self, target_shape: Any) -> None:
        """Make the weights of both units."""
        dim = target_shape[-1]
        if dim is None:
            raise ValueError(f"`target` must have a known last dimension. Received: shape {target_shape}.")
        if self.search == "soft":
            self.search_query = self._kernel("search_query", 1, dim, self.key_dim)
            self.search_key = self._kernel("search_key", 1, dim, self.key_dim)
        width = dim + self.time_dim
        self.query = self._kernel("query", self.heads, dim, self.key_dim)
        self.key = self._kernel("key", self.heads, width, self.key_dim)
        self.output_kernel = self._kernel("output_kernel", self.heads, width, dim)
        if self.gap_embedding is not None:
            self.gap_embedding.build((None, None))
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
        """Return what the units found."""
        wide = at_least_float32(self.compute_dtype)
        targets, history, real = checked(target, history, mask, wide)
        history = blank_padding(history, real)
        if self.search == "hard":
            found = self._hard_search(same_category, target, history, real)
            interests = self._exact_search(targets, history, found, time_gaps)
        else:
            # r_i, as of one head: [batch, candidates, 1, length]
            relevance = attention_scores(map_queries(targets, self.search_query, self.search_key), history)
            found = tf.squeeze(highest(relevance, real[:, tf.newaxis, tf.newaxis], self.top_k), axis=2)
            taste = tf.squeeze(pool(relevance, history), axis=2)  # U_r
            interests = tf.concat([taste, self._exact_search(targets, history, found, time_gaps)], axis=-1)
        return as_given(tf.cast(interests, self.compute_dtype), target)

    def _hard_search(
        self, same_category: tf.Tensor | None, target: tf.Tensor, history: tf.Tensor, real: tf.Tensor
    ) -> tf.Tensor:
        """Return which behaviours are the latest of the target's category, `[batch, candidates, length]`."""
        if same_category is None:
            raise ValueError(
                '`same_category` must be given for the hard search; search="soft" does without. Received: None.'
            )
        return latest(category_flags(same_category, target, history) & real[:, tf.newaxis], self.top_k)

    def _exact_search(
        self, targets: tf.Tensor, history: tf.Tensor, found: tf.Tensor, time_gaps: tf.Tensor | None
    ) -> tf.Tensor:
        """Return U_lt, `[batch, candidates, dim]`."""
        behaviours = history
        if self.gap_embedding is not None:
            behaviours = tf.concat([history, time_gap_features(time_gaps, self.gap_embedding, history)], axis=-1)  # z_i
        scores = attention_scores(map_queries(targets, self.query, self.key), behaviours)
        heads = pool(masked_softmax(scores, found[:, :, tf.newaxis]), behaviours)
        return join_heads(heads, self.output_kernel)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "search": self.search,
            "top_k": self.top_k,
            "heads": self.heads,
            "key_dim": self.key_dim,
            "time_dim": self.time_dim,
        }
