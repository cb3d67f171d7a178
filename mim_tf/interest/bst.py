"""BST: a transformer over the behaviours and the target."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.behaviours import as_given, blank_padding, checked
from mim_tf.interest.candidates import fold, repeat, unfold
from mim_tf.interest.cross_features import time_gap_features
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.masked_softmax import masked_softmax
from mim_tf.interest.precision import at_least_float32
from mim_tf.interest.sizes import check_sizes
from mim_tf.interest.target_attention import attention_scores, join_heads, map_queries, pool
from mim_tf.interest.time_gap_embedding import TimeGapEmbedding

# The paper names neither: the slope is that of LeakyReLU's paper, the width that of the Transformer's.
_NEGATIVE_SLOPE = 0.01
_FEED_FORWARD_FACTOR = 4


@keras.utils.register_keras_serializable(package="mim_tf")
class BST(InterestLayer):
    """Behavior Sequence Transformer: behaviours and target attend to each other, and the target's place tells.

    ```
    E  = [e_1 ; p_1], .., [e_l ; p_l], [e_target ; p_target]        p: embedded time gap; the target's is 0 s
    S  = concat_j(head_j) W_H        head_j = softmax(E W_Q,j (E W_K,j)^T / sqrt(head_dim)) E W_V,j
    S' = LayerNorm(E + Dropout(S))
    F  = LayerNorm(S' + Dropout(LeakyReLU(S' W_1 + b_1) W_2 + b_2))
    h_ID_B = F_target
    ```

    F is the E of the next block. The paper joins the F of all places, for which histories must be of one length; here
    the target's alone is the result. So the last block has one query, and memory linear in the length; each block
    before it has a query per place, and memory quadratic in the length.

    Of a user's candidates none sees another: each stands at the target's place. In a single block the behaviours are
    the same for all of them, and each adds a query and its own key and value. Of more blocks the first makes the
    behaviours the candidate's, so candidates are folded into the batch, and cost as many histories.

    Args:
        heads: number of attention heads.
        head_dim: dimension of a head; None for `(dim + time_dim) / heads`, rounded up.
        blocks: number of blocks.
        dropout: share that Dropout drops in training, in [0, 1).
        time_dim: dimension of the time gaps' embedding; 0 for a model without time gaps.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        target: floating point, `[batch, dim]`, or `[batch, candidates, dim]`.
        history: floating point, `[batch, length, dim]`.
        mask: bool, `[batch, length]`, True at real behaviours; None if all are. Padding may hold anything, even NaN. A
            history without a real behaviour gives zeros.
        time_gaps: seconds before the request, `[batch, length]`. They alone tell the order of the behaviours. None
            counts as embeddings of zeros; their weights then have no gradient, so a model that has none should say
            `time_dim=0`.
        training: whether to drop.

    Returns:
        The ID interest, `[batch, dim + time_dim]`, or `[batch, candidates, dim + time_dim]`, in the layer's compute
        dtype. Attention is computed in at least float32.

    Raises:
        TypeError: if `target` or `history` is not floating point, or `mask` not boolean.
        ValueError: if an argument is out of range, or the shapes do not fit each other.

    Example:
        >>> interest = BST()(tf.ones([2, 4]), tf.ones([2, 3, 4]), time_gaps=tf.constant([[9000, 60, 5]] * 2))
        >>> interest.shape
        TensorShape([2, 12])

    Reference:
        Chen et al., Behavior Sequence Transformer for E-commerce Recommendation in Alibaba, section 2 with equations 2
        to 6, arXiv:1905.06874; heads, blocks and dropout are those of its experiments. MIM, equation 1.
    """

    def __init__(
        self,
        heads: int = 8,
        head_dim: int | None = None,
        blocks: int = 1,
        dropout: float = 0.2,
        time_dim: int = 8,
        **kwargs: Any,
    ) -> None:
        check_sizes(heads=heads, head_dim=1 if head_dim is None else head_dim, blocks=blocks)
        check_sizes(0, time_dim=time_dim)
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1). Received: {dropout}.")
        super().__init__(**kwargs)
        self.heads = heads
        self.head_dim = head_dim
        self.blocks = blocks
        self.dropout = dropout
        self.time_dim = time_dim
        self.gap_embedding = TimeGapEmbedding(time_dim, dtype=self.dtype_policy) if time_dim else None
        self.transformer = [
            _Block(heads, head_dim, dropout, dtype=self.dtype_policy, name=f"block_{i}") for i in range(blocks)
        ]

    def build(self, target_shape: Any) -> None:
        """Make the weights of the time embedding and of the blocks."""
        dim = target_shape[-1]
        if dim is None:
            raise ValueError(f"`target` must have a known last dimension. Received: shape {target_shape}.")
        if self.gap_embedding is not None:
            self.gap_embedding.build((None, None))
        for block in self.transformer:
            block.build((None, None, dim + self.time_dim))
        super().build(target_shape)

    def call(
        self,
        target: tf.Tensor,
        history: tf.Tensor,
        mask: tf.Tensor | None = None,
        time_gaps: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Return what the last block makes of the target."""
        targets, history, real = checked(target, history, mask, self.compute_dtype)
        behaviours = blank_padding(self._places(history, time_gaps), real)
        targets = self._places(targets, None if time_gaps is None else tf.zeros(tf.shape(targets)[:2]))
        if self.blocks == 1:
            interests = self.transformer[0].of_targets(behaviours, targets, real, training)
        else:
            everyone = repeat(behaviours, targets), fold(targets)[:, tf.newaxis], repeat(real, targets)
            interests = unfold(self._of_one_each(*everyone, training)[:, 0], targets)
        empty = ~tf.reduce_any(real, axis=1)[:, tf.newaxis, tf.newaxis]
        return as_given(tf.where(empty, tf.zeros([], interests.dtype), interests), target)

    def _of_one_each(
        self, behaviours: tf.Tensor, target: tf.Tensor, real: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Return F of one target per history, `[batch, 1, dim + time_dim]`, after several blocks."""
        places = tf.concat([behaviours, target], axis=1)
        attended = tf.pad(real, [[0, 0], [0, 1]], constant_values=True)  # the target by all
        *earlier, last = self.transformer
        for block in earlier:
            places = block(places, attended=attended, training=training)
        behaviours, target = tf.split(places, [-1, 1], axis=1)
        return last.of_targets(behaviours, target, real, training)

    def _places(self, items: tf.Tensor, time_gaps: tf.Tensor | None) -> tf.Tensor:
        """Return [e ; p] of items `[batch, places, dim]` at their times, `[batch, places, dim + time_dim]`."""
        if self.gap_embedding is None:
            return items
        return tf.concat([items, time_gap_features(time_gaps, self.gap_embedding, items)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "heads": self.heads,
            "head_dim": self.head_dim,
            "blocks": self.blocks,
            "dropout": self.dropout,
            "time_dim": self.time_dim,
        }


class _Block(keras.layers.Layer):
    """Multi-head self-attention and a feed-forward network, each with residual connection and layer norm: E to F."""

    def __init__(self, heads: int, head_dim: int | None, dropout: float, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.heads = heads
        self.head_dim = head_dim
        policy = self.dtype_policy
        self.drop = keras.layers.Dropout(dropout, dtype=policy)
        # Embeddings that are held small have variances far below Keras' epsilon, 1e-3.
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="attention_norm")
        self.output_norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=policy, name="output_norm")

    def build(self, places_shape: Any) -> None:
        """Make the weights."""
        dim, policy = places_shape[-1], self.dtype_policy
        head_dim = self.head_dim or -(-dim // self.heads)
        self.scale = head_dim**-0.5
        width, hidden = self.heads * head_dim, _FEED_FORWARD_FACTOR * dim
        self.query, self.key, self.value = (self._kernel(name, dim, width) for name in ("query", "key", "value"))
        self.joined = self._kernel("joined", width, dim)
        self.inner = keras.layers.Dense(hidden, dtype=policy, name="inner")
        self.outer = keras.layers.Dense(dim, dtype=policy, name="outer")
        self.inner.build((None, None, dim))
        self.outer.build((None, None, hidden))
        for norm in (self.attention_norm, self.output_norm):
            norm.build((None, None, dim))
        super().build(places_shape)

    def _kernel(self, name: str, *shape: int) -> tf.Variable:
        return self.add_weight(name=name, shape=shape, initializer="glorot_uniform", autocast=False)

    def call(self, places: tf.Tensor, attended: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return F of all places, `[batch, places, dim]`."""
        wide = tf.cast(places, at_least_float32(self.compute_dtype))
        return self._feed(places, self._all_attend(wide, attended), training)

    def of_targets(
        self, behaviours: tf.Tensor, targets: tf.Tensor, real: tf.Tensor, training: bool | None
    ) -> tf.Tensor:
        """Return F of the target's place, by who stands there, `[batch, candidates, dim]`."""
        wide = at_least_float32(self.compute_dtype)
        return self._feed(
            targets, self._targets_attend(tf.cast(behaviours, wide), tf.cast(targets, wide), real), training
        )

    def _feed(self, places: tf.Tensor, attention: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Return F of E and S, all `[batch, places, dim]`."""
        joined = self.attention_norm(places + self.drop(tf.cast(attention, places.dtype), training=training))
        fed = self.outer(tf.nn.leaky_relu(self.inner(joined), _NEGATIVE_SLOPE))
        return self.output_norm(joined + self.drop(fed, training=training))

    def _targets_attend(self, behaviours: tf.Tensor, targets: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Return S of the targets, each of which attends to the behaviours and itself, `[batch, candidates, dim]`."""
        query, key, value, joined = self._per_head()
        queries = map_queries(targets, query, key) * self.scale
        to_itself = tf.einsum("bchd,bcd->bch", queries, targets)[..., tf.newaxis]
        scores = tf.concat([attention_scores(queries, behaviours), to_itself], axis=-1)
        attended = tf.pad(real, [[0, 0], [0, 1]], constant_values=True)[:, tf.newaxis, tf.newaxis]
        to_behaviours, to_itself = tf.split(masked_softmax(scores, attended), [-1, 1], axis=-1)
        found = pool(to_behaviours, behaviours) + to_itself * targets[:, :, tf.newaxis]
        return join_heads(tf.einsum("bchd,hdk->bchk", found, value), joined)

    def _all_attend(self, places: tf.Tensor, attended: tf.Tensor) -> tf.Tensor:
        """Return S, `[batch, places, dim]`."""
        *kernels, joined = self._per_head()
        queries, keys, values = (tf.einsum("bpd,hdk->bhpk", places, kernel) for kernel in kernels)
        scores = tf.matmul(queries, keys, transpose_b=True) * self.scale
        heads = tf.matmul(masked_softmax(scores, attended[:, tf.newaxis, tf.newaxis]), values)
        return tf.einsum("bhpk,hkd->bpd", heads, joined)

    def _per_head(self) -> list[tf.Tensor]:
        """Return W_Q, W_K and W_V, `[heads, dim, head_dim]` each, and W_H, `[heads, head_dim, dim]`."""
        wide = at_least_float32(self.compute_dtype)
        inward = [tf.stack(tf.split(tf.cast(k, wide), self.heads, axis=1)) for k in (self.query, self.key, self.value)]
        return [*inward, tf.stack(tf.split(tf.cast(self.joined, wide), self.heads, axis=0))]
