"""Which behaviours a search keeps, as a mask over the whole history.

A mask rather than the behaviours themselves: nothing is gathered, so a history may be of any length and have fewer
behaviours than are asked for, and the gradients of what follows are plain matrix products. What is not kept costs a
weight of exactly 0.
"""

import tensorflow as tf


def latest(mask: tf.Tensor, count: int) -> tf.Tensor:
    """Return the mask of its own last True positions.

    ```
    kept_i = mask_i and (number of True at i, i + 1, ..) <= count
    ```

    Args:
        mask: bool, `[..., length]`, oldest behaviour first.
        count: how many to keep; all where a row has fewer.

    Returns:
        bool, like `mask`.
    """
    return mask & (tf.cumsum(tf.cast(mask, tf.int32), axis=-1, reverse=True) <= count)


def highest(scores: tf.Tensor, mask: tf.Tensor, count: int) -> tf.Tensor:
    """Return the mask of the highest scores among the real positions.

    ```
    kept_i = mask_i and scores_i >= the count-th highest score whose mask is True
    ```

    Scores that equal the count-th highest are all kept, so a row of ties may keep more than `count`: which of them
    come first in the history says nothing about them.

    Args:
        scores: floating point, `[..., length]`; may hold anything where the mask is False, even NaN. No gradient flows
            through the choice.
        mask: bool, of a shape that broadcasts to that of `scores`.
        count: how many to keep; all real positions where a row has fewer.

    Returns:
        bool, like `scores`.
    """
    mask = tf.broadcast_to(mask, tf.shape(scores))
    length = scores.shape[-1]
    if length is not None and length <= count:
        return mask
    # No finite score is below the dtype's lowest, so with fewer than `count` real positions all of them pass.
    lowest = scores.dtype.min
    blanked = tf.where(mask, scores, lowest)

    def count_th() -> tf.Tensor:
        # Under XLA this branch is compiled for short histories too, where `count` would be out of range.
        values = tf.math.top_k(blanked, tf.minimum(count, tf.shape(blanked)[-1]), sorted=False).values
        return tf.reduce_min(values, axis=-1, keepdims=True)

    # Sorting out the highest of no more than `count` would cost time and change nothing.
    threshold = tf.cond(tf.shape(scores)[-1] > count, count_th, lambda: tf.fill(tf.shape(scores[..., :1]), lowest))
    return mask & (blanked >= threshold)
