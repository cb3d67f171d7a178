"""Histories of different lengths, packed: a recurrence then takes steps over real behaviours only."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class PackedSteps(NamedTuple):
    """Where the real behaviours of a batch go in `[real, ...]`: all first ones, then all second ones, and so on.

    Within a step users stand by their number of behaviours, the most first. So each step is of the first users of the
    step before, and a recurrence cuts its states off and goes on. There is one step at least, of nobody if need be.

    Attributes:
        bounds: int32, `[steps + 1, 1]`, row of each step's first behaviour, and the number of rows at the end.
        users: int32, `[real]`, whose behaviour each row is.
        positions: int32, `[real]`, where in the history.
        latest: int32, `[batch, length]`, row of the latest real behaviour up to each position, -1 before the first.
        last: int32, `[batch]`, row of the last real behaviour, -1 where there is none.
    """

    bounds: tf.Tensor
    users: tf.Tensor
    positions: tf.Tensor
    latest: tf.Tensor
    last: tf.Tensor

    @classmethod
    def of(cls, mask: tf.Tensor) -> "PackedSteps":
        """Pack what is True in `[batch, length]`, wherever in the history."""
        real = tf.cast(mask, tf.int32)
        counts = tf.reduce_sum(real, axis=1)
        ranks = tf.math.invert_permutation(tf.argsort(counts, direction="DESCENDING"))
        steps = tf.maximum(tf.reduce_max(counts), 1)
        sizes = tf.reduce_sum(tf.cast(tf.sequence_mask(counts, steps), tf.int32), axis=0)  # users of each step
        bounds = tf.concat([[0], tf.cumsum(sizes)], axis=0)

        def rows(done: tf.Tensor, rank: tf.Tensor) -> tf.Tensor:
            return tf.where(done > 0, tf.gather(bounds, tf.maximum(done - 1, 0)) + rank, -1)

        latest = rows(tf.cumsum(real, axis=1), ranks[:, tf.newaxis])
        places = tf.where(mask)  # [real, 2], user by user
        order = tf.math.invert_permutation(tf.gather_nd(latest, places))
        users, positions = tf.unstack(tf.cast(tf.gather(places, order), tf.int32), axis=1)
        return cls(bounds[:, tf.newaxis], users, positions, latest, rows(counts, ranks))

    def pack(self, values: tf.Tensor) -> tf.Tensor:
        """Return the rows, `[real, ...]`, of `[batch, length, ...]`."""
        shape = tf.shape(values)
        flat = tf.reshape(values, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))
        return gather_distinct(flat, self.users * shape[1] + self.positions)

    def unpack(self, rows: tf.Tensor) -> tf.Tensor:
        """Return `[real, dim]` where it was packed from, `[batch, length, dim]`; zeros elsewhere."""
        places = tf.stack([self.users, self.positions], axis=1)
        return tf.scatter_nd(places, rows, tf.concat([tf.shape(self.latest), tf.shape(rows)[1:]], axis=0))

    def passed_on(self, states: tf.Tensor) -> tf.Tensor:
        """Return what padding makes of `[real, units]`: the latest state at each position, `[batch, length, units]`.

        Before the first it is zeros.
        """
        return tf.gather(_with_zeros(states), self.latest + 1)

    def last_of(self, states: tf.Tensor) -> tf.Tensor:
        """Return each user's last state, `[batch, ...]`, of `[real, ...]`; zeros where there is none."""
        return tf.gather(_with_zeros(states), self.last + 1)


def gather_distinct(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Return `tf.gather(values, rows)` of int32 rows among which none is twice.

    Its gradient is such a gather too, where that of `tf.gather` adds up: on CPUs several times as slow.
    """

    @tf.custom_gradient
    def gathered(values: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
        def gradient(by_rows: tf.Tensor) -> tuple[tf.Tensor, None]:
            # 1 and up where a row went; 0, the zeros, for those nobody asked for.
            inverse = tf.scatter_nd(rows[:, tf.newaxis], 1 + tf.range(tf.size(rows)), tf.shape(values)[:1])
            return tf.gather(_with_zeros(by_rows), inverse), None

        return tf.gather(values, rows), gradient

    return gathered(values, rows)


def _with_zeros(values: tf.Tensor) -> tf.Tensor:
    """Put zeros before the first row."""
    return tf.pad(values, [[1, 0], *[[0, 0]] * (values.shape.rank - 1)])
