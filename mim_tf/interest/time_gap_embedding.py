"""How long ago a behaviour was, as an embedding."""

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest.sizes import check_sizes

_BUCKETS = 32
# Bucket b holds gaps of 2^(b-1) to 2^b seconds, bucket 0 those below a second, the last one all from 34 years on.
_BOUNDARIES = [float(2**power) for power in range(_BUCKETS - 1)]


@keras.utils.register_keras_serializable(package="mim_tf")
class TimeGapEmbedding(keras.layers.Layer):
    """Embeds the time between a behaviour and the request by its order of magnitude.

    ```
    e(gap) = E[bucket]        bucket = 0 below 1 s, else 1 + floor(log2(gap)), at most 31
    ```

    Args:
        dim: dimension of an embedding.
        **kwargs: `name`, `dtype` and `trainable` of every Keras layer.

    Call arguments:
        time_gaps: seconds, integer or floating point, `[batch, length]`. Negative ones count as 0.

    Returns:
        `[batch, length, dim]`, in the layer's compute dtype.

    Raises:
        ValueError: if `dim` is not above 0.

    Example:
        >>> TimeGapEmbedding(4)(tf.constant([[0, 1, 86_400]])).shape
        TensorShape([1, 3, 4])

    Reference:
        Chen et al., Behavior Sequence Transformer for E-commerce Recommendation in Alibaba, section 2.1,
        arXiv:1905.06874: positions are times before the recommendation.
    """

    def __init__(self, dim: int, **kwargs: Any) -> None:
        check_sizes(dim=dim)
        super().__init__(autocast=False, **kwargs)
        self.dim = dim

    def build(self, gaps_shape: Any) -> None:
        """Make one row per bucket."""
        self.embeddings = self.add_weight(
            name="embeddings", shape=(_BUCKETS, self.dim), initializer=keras.initializers.RandomNormal(stddev=0.05)
        )
        super().build(gaps_shape)

    def call(self, time_gaps: tf.Tensor) -> tf.Tensor:
        """Return each gap's row."""
        wide = tf.cast(time_gaps, tf.float32 if time_gaps.dtype.is_floating else tf.int64)
        buckets = tf.raw_ops.Bucketize(input=wide, boundaries=_BOUNDARIES)
        return tf.gather(tf.cast(self.embeddings, self.compute_dtype), buckets)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "dim": self.dim}
