"""The queue of past batches' candidates: ST-NSG's negatives from time."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.contrastive.queue_softmax import QueuedNegatives, queue_softmax


@keras.utils.register_keras_serializable(package="mim_tf")
class NegativeQueue(keras.layers.Layer):
    """The candidates of the last k batches, as further negatives of the queries of this one.

    With `2NP` rows a batch, full, and the batch's own, a query has `2NP(k + 1) - 1` negatives. A ring buffer: batch t
    is written over batch t - k. Its weights belong to each replica, and as all are handed the same rows, gathered, all
    hold the same. They are weights that no gradient trains, in the precision of the training, and saved as any other.

    Only what is written or read a block at a time is ever copied, so a step needs no memory that grows with k.

    Args:
        batches: k, past batches that are kept.
        rows: candidates of a batch, of all replicas.
        levels: embeddings of a candidate, 3 in C-SFT.
        dim: of the embeddings.

    Call arguments:
        queries: `[queries, dim]` embeddings, normalised here.
        excluded_items: `[queries, excluded]` int64, items whose rows are false negatives: those of the query's
            positive, for one.
        temperature: what the cosine is divided by, > 0.
        mask: leave false negatives out. They are counted either way.

    Returns:
        `QueuedNegatives`, in float32. Its gradient reaches the queries alone.

    Raises:
        ValueError: a size or the temperature is not positive, or what is pushed has another shape.

    Example:
        >>> queue = NegativeQueue(batches=2, rows=1, levels=1, dim=2)
        >>> queue.push(tf.constant([[[0.0, 3.0]]]), tf.constant([7]))
        >>> query, own_item = tf.constant([[0.6, 0.8]]), tf.constant([[5]], tf.int64)
        >>> queue(query, own_item, temperature=1.0).largest.numpy()
        array([[0.8]], dtype=float32)

    Reference: MIM, section 3.3 (ST-NSG); He et al., Momentum Contrast (arXiv 1911.05722).
    """

    def __init__(self, batches: int, rows: int, levels: int, dim: int, **kwargs: Any):
        super().__init__(**{"autocast": False, **kwargs})  # queries keep their precision
        sizes = {"batches": batches, "rows": rows, "levels": levels, "dim": dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"`{name}` must be positive. Received: {size}.")
        self.supports_masking = True  # a query's mask, left by its encoder, means nothing here
        self._sizes = sizes
        self.capacity = batches * rows
        # One row after the other, all of a level together: what is gathered of them is ready to be multiplied.
        self.embeddings = self._state("embeddings", (levels * self.capacity, dim), self.compute_dtype)
        self.items = self._state("items", (self.capacity,), "int64")
        self.pushed = self._state("pushed", (), "int64")  # batches, ever
        self.built = True

    def _state(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        kwargs = {"name": name, "shape": shape, "dtype": dtype}
        return self.add_weight(initializer="zeros", trainable=False, autocast=False, **kwargs)

    def push(self, embeddings: tf.Tensor, items: tf.Tensor) -> None:
        """Write a batch over the oldest one.

        One that holds a value that is not finite is not taken in: the training skips its step, and would meet it in
        the k steps after.

        Args:
            embeddings: `[rows, levels, dim]`, the same on every replica, normalised here.
            items: `[rows]` int64, the items that they are of.
        """
        rows, levels, dim = (self._sizes[name] for name in ("rows", "levels", "dim"))
        if not embeddings.shape.is_compatible_with([rows, levels, dim]):
            raise ValueError(f"`embeddings` must be [{rows}, {levels}, {dim}]. Received: {embeddings.shape}.")
        embeddings = tf.ensure_shape(tf.stop_gradient(embeddings), [rows, levels, dim])
        directions = tf.math.l2_normalize(tf.cast(embeddings, tf.float32), axis=-1)
        finite = tf.reduce_all(tf.math.is_finite(directions) & tf.math.is_finite(embeddings))
        places = self._oldest() * rows + tf.range(rows)
        _overwrite(self.embeddings, self._of_levels(places), tf.transpose(directions, [1, 0, 2]), finite)
        _overwrite(self.items, places, items, finite)
        _variable(self.pushed).assign_add(tf.cast(finite, tf.int64))

    def filled_rows(self) -> tf.Tensor:
        """How many rows hold a candidate, an int32 scalar; they are the first ones."""
        batches = tf.minimum(tf.identity(_variable(self.pushed)), self._sizes["batches"])
        return tf.cast(batches, tf.int32) * self._sizes["rows"]

    def call(
        self, queries: tf.Tensor, excluded_items: tf.Tensor, *, temperature: float, mask: bool = True
    ) -> QueuedNegatives:
        """Contrast queries with the queue."""
        if temperature <= 0:
            raise ValueError(f"`temperature` must be positive. Received: {temperature}.")
        queries = tf.math.l2_normalize(tf.cast(queries, tf.float32), axis=-1) / temperature
        return queue_softmax(
            queries,
            tf.cast(excluded_items, tf.int64),
            self._read,
            self.filled_rows(),
            levels=self._sizes["levels"],
            lower_bound=-1.01 / temperature,  # rows in half precision are a little longer or shorter than 1
            mask=mask,
        )

    def _read(self, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = _rows_at(_variable(self.embeddings), self._of_levels(places))
        return tf.cast(rows, tf.float32), _rows_at(_variable(self.items), places)

    def _oldest(self) -> tf.Tensor:
        """The batch that is written next, of 0..k-1."""
        return tf.cast(tf.identity(_variable(self.pushed)) % self._sizes["batches"], tf.int32)

    def _of_levels(self, places: tf.Tensor) -> tf.Tensor:
        """Where the embeddings of these rows are, `[levels, rows]`."""
        return self.capacity * tf.range(self._sizes["levels"])[:, tf.newaxis] + places

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **self._sizes}


def _variable(weight: Any) -> tf.Variable:
    """TensorFlow's own variable, which Keras 3 wraps."""
    return weight if isinstance(weight, tf.Variable) else weight.value


# By the handle, which is the replica's own. A mirrored variable offers no reading of a part, and `tf.gather` of one
# copies all of it first.
def _rows_at(variable: tf.Variable, places: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ResourceGather(resource=variable.handle, indices=places, dtype=variable.dtype)


def _overwrite(weight: Any, places: tf.Tensor, rows: tf.Tensor, condition: tf.Tensor) -> None:
    """Write rows to these places; where the condition is False, what is there already."""
    variable = _variable(weight)
    rows = tf.where(condition, tf.cast(rows, variable.dtype), _rows_at(variable, places))
    tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=places, updates=rows)
