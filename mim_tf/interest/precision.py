"""Which parts of a layer stay in full precision under a mixed-precision policy."""

import tensorflow as tf


def at_least_float32(compute_dtype: str) -> tf.DType:
    """Return the layer's compute dtype, widened to float32 where it is a half precision.

    For sums of squares (in float16 they overflow at a norm of 256), statistics over a batch, and means over long
    histories.
    """
    dtype = tf.as_dtype(compute_dtype)
    return dtype if dtype.size >= tf.float32.size else tf.float32
