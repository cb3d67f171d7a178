"""Self-attention within windows of a map, the layer that Swin is made of."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

_APART = -100.0  # what a score loses where places are no neighbours, as in the authors' code


@keras.utils.register_keras_serializable(package="mim_tf")
class ShiftedWindowAttention(keras.layers.Layer):
    """Places attend to those of their own window: `softmax(Q K^T / sqrt(d) + B) V`.

    `B` is learnt by the distance of two places. Windows lie in a grid from the upper left corner, or shifted by half a
    window towards the lower right, where the map goes on at its other side but attends to nothing from there. A map
    is filled up with zeros to whole windows first. One that is no larger than a window is one unshifted window, which
    uses the shorter ones of the learnt distances.

    Args:
        num_heads: of which each has `dim / num_heads` channels.
        window_size: side of a window, places.
        shifted: whether the windows are.
        qkv_bias: whether queries, keys and values have biases.

    Call arguments:
        maps: `[batch, height, width, dim]`, height and width known.

    Returns:
        The same shape.

    Raises:
        ValueError: `dim` is no multiple of `num_heads`.

    Reference: Liu et al., Swin Transformer (arXiv 2103.14030), section 3.2 and equation (4).
    """

    def __init__(self, num_heads: int, window_size: int, *, shifted: bool, qkv_bias: bool = True, **options: Any):
        super().__init__(**options)
        self.num_heads = num_heads
        self.window_size = window_size
        self.shifted = shifted
        self.qkv_bias = qkv_bias

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Create the weights, and what follows from the map's size."""
        _, height, width, dim = input_shape
        if dim % self.num_heads:
            raise ValueError(f"`dim` must be a multiple of `num_heads`, {self.num_heads}. Received: {dim}.")
        self._window = min(self.window_size, height, width)
        self._shift = self._window // 2 if self.shifted and self._window < min(height, width) else 0
        self._padded = tuple(-(-side // self._window) * self._window for side in (height, width))
        self._distances = _distances(self._window, self.window_size)
        self._regions = _regions(self._padded, self._window, self._shift)
        self.relative_position_bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * self.window_size - 1) ** 2, self.num_heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )
        # The names are keras-nlp's, so that its presets fit.
        self.qkv = keras.layers.Dense(3 * dim, use_bias=self.qkv_bias, dtype=self.dtype_policy, name="attention_qkv")
        self.qkv.build(input_shape)
        self.projection = keras.layers.Dense(dim, dtype=self.dtype_policy, name="attention_projection")
        self.projection.build(input_shape)

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Attend within each window."""
        _, height, width, _ = maps.shape
        rows, columns = self._padded
        if (rows, columns) != (height, width):
            maps = tf.pad(maps, [[0, 0], [0, rows - height], [0, columns - width], [0, 0]])
        if self._shift:
            maps = tf.roll(maps, [-self._shift, -self._shift], axis=[1, 2])
        maps = self.projection(self._attend(self.qkv(maps)))
        if self._shift:
            maps = tf.roll(maps, [self._shift, self._shift], axis=[1, 2])
        return maps[:, :height, :width]

    def _attend(self, qkv: tf.Tensor) -> tf.Tensor:
        """`[batch, rows, columns, 3 dim]` to `[batch, rows, columns, dim]`."""
        window, (rows, columns) = self._window, self._padded
        down, across, width = rows // window, columns // window, qkv.shape[-1] // 3 // self.num_heads
        split = tf.reshape(qkv, [-1, down, window, across, window, 3, self.num_heads, width])
        split = tf.transpose(split, [5, 0, 1, 3, 6, 2, 4, 7])
        split = tf.reshape(split, [3, -1, down * across, self.num_heads, window**2, width])
        query, key, value = tf.unstack(split)  # each [batch, windows, heads, places, width]
        scores = tf.matmul(query * width**-0.5, key, transpose_b=True)
        attention = tf.nn.softmax(tf.cast(scores, tf.float32) + self._bias())
        values = tf.matmul(tf.cast(attention, value.dtype), value)
        values = tf.reshape(values, [-1, down, across, self.num_heads, window, window, width])
        return tf.reshape(tf.transpose(values, [0, 1, 4, 2, 5, 3, 6]), [-1, rows, columns, self.num_heads * width])

    def _bias(self) -> tf.Tensor:
        """`[windows or 1, heads, places, places]` float32."""
        by_head = tf.transpose(tf.cast(self.relative_position_bias_table, tf.float32))
        bias = tf.gather(by_head, self._distances, axis=1)
        if not self._shift:
            return bias[tf.newaxis]
        regions = tf.constant(self._regions)  # compared in the graph, which would else hold a constant of that size
        apart = regions[:, :, tf.newaxis] != regions[:, tf.newaxis, :]
        return bias + tf.where(apart, _APART, 0.0)[:, tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "shifted": self.shifted,
            "qkv_bias": self.qkv_bias,
        }


def _distances(window: int, window_size: int) -> np.ndarray:
    """`[places, places]`: the row of the table that holds the distance of two places of a window."""
    row, column = np.divmod(np.arange(window**2, dtype=np.int32), window)
    down, across = row[:, np.newaxis] - row, column[:, np.newaxis] - column
    return (down + window_size - 1) * (2 * window_size - 1) + across + window_size - 1


def _regions(sides: tuple[int, ...], window: int, shift: int) -> np.ndarray:
    """`[windows, places]`: places of a window were neighbours before the shift where they have the same number."""
    down, across = (np.digitize(np.arange(side), [side - window, side - shift]) for side in sides)
    regions = 3 * down[:, np.newaxis] + across
    split = regions.reshape(sides[0] // window, window, sides[1] // window, window)
    return split.transpose(0, 2, 1, 3).reshape(-1, window**2).astype(np.int32)
